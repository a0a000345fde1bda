//! Source against sink on loopback, through the real binary: every way to talk, and the audit.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_posthaste-loadgen");

/// A sink that is ended with its test.
struct Sink {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sink {
    fn start(words: &[&str]) -> Sink {
        Sink::start_on("127.0.0.1:0", words)
    }

    /// On a free port; it says which.
    fn start_on(listen: &str, words: &[&str]) -> Sink {
        let mut command = Command::new(BINARY);
        // Bounded, should the test never end it.
        command.args(["sink", "--quiet", "--time", "10m", "--listen", listen]).args(words).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let address = line.split(' ').nth(3).unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Sink { child, out, address }
    }

    /// Ends it as an operator would.
    fn stop(self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.finish();
    }

    /// Waits until it has ended by itself.
    fn finish(mut self) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("readable");
        assert!(self.child.wait().expect("ends").success(), "the sink failed: {rest}");
    }
}

fn run(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).output().expect("runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

/// Sends with `source` words to a sink with `sink` words until `messages` have arrived; the results of both. The audit of
/// their ledgers is clean.
fn exchange(listen: &str, sink: &[&str], source: &[&str], messages: u64) -> (serde_json::Value, serde_json::Value) {
    let files = Files::new();
    let (count, at_sink, sink_json) = (messages.to_string(), files.word("sink.ledger"), files.word("sink.json"));
    let own = ["--messages", &count, "--ledger", &at_sink, "--json", &sink_json];
    let running = Sink::start_on(listen, &[sink, &own].concat());
    let (at_source, source_json) = (files.word("source.ledger"), files.word("source.json"));
    let address = running.address.clone();
    let own = ["source", address.as_str(), "--quiet", "--ledger", &at_source, "--json", &source_json];
    let sent = run(&[&own, source].concat());
    assert!(sent.status.success(), "{}", text(&sent));
    running.finish();
    let audited = run(&["audit", "--source", &at_source, "--sink", &at_sink]);
    assert!(audited.status.success(), "{source:?}: {}", text(&audited));
    (json(&files.path("source.json")), json(&files.path("sink.json")))
}

fn number(value: &serde_json::Value, path: &str) -> u64 {
    value.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// A closed loop of `n` messages with further words.
fn plain(sink: &[&str], source: &[&str]) -> (serde_json::Value, serde_json::Value) {
    let all = [&["-n", "200", "-s", "5"], source].concat();
    let (source, sink) = exchange("127.0.0.1:0", sink, &all, 200);
    assert_eq!(number(&source, "/totals/acknowledged"), 200);
    assert_eq!((number(&sink, "/messages"), number(&sink, "/altered")), (200, 0));
    (source, sink)
}

#[test]
fn in_groups_and_in_turns_by_data_and_by_chunks() {
    for words in [&[][..], &["--no-pipelining"], &["--chunking"], &["--chunking", "--no-pipelining"]] {
        let (source, _) = plain(&[], words);
        assert_eq!(number(&source, "/replies/MAIL 250"), 200, "{words:?}");
        assert_eq!(number(&source, "/replies/final reply 250"), 200, "{words:?}");
        assert_eq!(source["run"]["mode"], "closed loop");
    }
    let (source, _) = plain(&["--without", "pipelining,size"], &[]);
    let options = source["run"]["options"].to_string();
    assert!(!options.contains("PIPELINING") && !options.contains("SIZE"), "{options}");
}

#[test]
fn every_extension_and_several_recipients() {
    let words = ["--8bitmime", "--dsn", "--smtputf8", "--to", "ünder%u@d%d.test", "-r", "7", "--domains", "20"];
    let (source, sink) = plain(&[], &words);
    assert_eq!(number(&source, "/totals/recipients"), 1400);
    assert_eq!(number(&sink, "/first"), 1400);
    assert_eq!(number(&sink, "/further"), 0);
}

#[test]
fn sizes_and_bodies_of_every_kind() {
    for words in [
        &["--size", "lognormal:20K,1.5", "--size-max", "2M"][..],
        &["--size", "300K", "--body", "bytes"],
        &["--size", "300K", "--chunking", "--body", "bytes"],
        &["--size", "1"],
        &["--body", "text", "--size", "5000"],
    ] {
        plain(&[], words);
    }
}

#[test]
fn tls_in_all_its_forms() {
    let forms = [(&["--starttls"][..], "starttls"), (&["--implicit-tls"][..], "implicit")];
    for (sink, tls) in forms {
        for version in ["1.2", "1.3"] {
            let (source, sink) = plain(sink, &["--tls", tls, "--tls-version", version, "-c", "10"]);
            let handshakes = number(&source, "/totals/tls_handshakes");
            assert!(handshakes > 5, "{tls} {version}");
            assert!(number(&source, "/totals/tls_resumed") > 0, "{tls} {version}: none was resumed");
            assert!(number(&sink, "/tls_handshakes") >= handshakes);
        }
        let (source, _) = plain(sink, &["--tls", tls, "--no-tls-resumption", "-c", "10"]);
        assert_eq!(number(&source, "/totals/tls_resumed"), 0, "{tls}");
    }
}

#[test]
fn a_certificate_is_checked_only_against_given_anchors() {
    let files = Files::new();
    let made = rcgen::generate_simple_self_signed(vec!["sink.test".to_owned()]).expect("a certificate");
    fs::write(files.path("cert"), made.cert.pem()).expect("written");
    fs::write(files.path("key"), made.signing_key.serialize_pem()).expect("written");
    let (cert, key) = (files.word("cert"), files.word("key"));
    let sink = ["--starttls", "--cert", &cert, "--key", &key];
    plain(&sink, &["--tls", "starttls", "--tls-verify", &cert, "--tls-name", "sink.test"]);
    let running = Sink::start(&sink);
    let wrong = run(&["source", &running.address, "-n", "1", "--tls", "starttls", "--tls-verify", &cert]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("TLS"), "{}", text(&wrong));
}

#[test]
fn authentication_by_both_mechanisms() {
    for mechanism in ["plain", "login"] {
        let (source, _) = plain(&["--auth", "me:secret"], &["--auth", mechanism, "--user", "me:secret"]);
        assert!(number(&source, "/replies/AUTH 235") > 0);
    }
    let running = Sink::start(&["--auth", "me:secret"]);
    let wrong = run(&["source", &running.address, "-n", "1", "--auth", "plain", "--user", "me:wrong"]);
    assert!(text(&wrong).contains("535") && !wrong.status.success(), "{}", text(&wrong));
}

#[test]
fn lmtp_and_proxy_headers_and_addresses() {
    let (source, _) = plain(&["--lmtp"], &["--lmtp", "-r", "3"]);
    assert_eq!(number(&source, "/replies/final reply 250"), 600);
    plain(&["--proxy-protocol"], &["--proxy", "v1"]);
    plain(&["--proxy-protocol"], &["--proxy", "v2", "--proxy-client", "[2001:db8::1]:9"]);
    plain(&[], &["--source-address", "127.0.0.2", "--source-address", "127.0.0.3"]);
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        exchange("[::1]:0", &[], &["-n", "50", "-6"], 50);
    } else {
        eprintln!("SKIPPED: this machine has no IPv6 loopback");
    }
}

#[test]
fn one_message_per_connection_and_several_threads() {
    let (source, sink) = plain(&["--threads", "2"], &["-c", "1", "--threads", "3", "--connect-rate", "2000"]);
    assert_eq!(number(&source, "/totals/connections"), 200);
    assert_eq!(number(&sink, "/connections"), 201, "and one to look first");
}

#[test]
fn the_open_loop_sends_what_was_intended() {
    let words = ["--rate", "200", "-t", "2s", "--warm-up", "500ms", "--arrivals"];
    for arrivals in ["constant", "poisson", "bursts:20"] {
        let words = [&words[..], &[arrivals, "--seed", "3"]].concat();
        let files = Files::new();
        let source_json = files.word("json");
        let sink = Sink::start(&[]);
        let sent = run(&[&["source", sink.address.as_str(), "--quiet", "--json", &source_json], &words[..]].concat());
        assert!(sent.status.success(), "{}", text(&sent));
        let result = json(&files.path("json"));
        // What was due in the measured span was begun or is reported as never begun; how many are due is the seed's.
        let due = number(&result, "/totals/begun") + number(&result, "/totals/unsent");
        match arrivals {
            "poisson" => assert!((320..480).contains(&due), "{due}"),
            _ => assert_eq!(due, 400, "{arrivals}"),
        }
        let totals = &result["totals"];
        assert_eq!(number(totals, "/begun"), number(totals, "/acknowledged"), "{totals}");
        assert_eq!(result["run"]["mode"], "open loop");
        let phases: Vec<_> =
            result["phases"].as_array().expect("phases").iter().map(|p| p["name"].to_string()).collect();
        assert!(phases.contains(&"\"end to end\"".to_owned()) && phases.contains(&"\"waiting\"".to_owned()));
    }
}

#[test]
fn the_search_ends_with_a_rate() {
    let files = Files::new();
    let sink = Sink::start(&[]);
    let source_json = files.word("json");
    // A generous goal and a coarse start: what is tested is that it ends, not how fast this machine is.
    let words = ["--find-max", "--p99", "5s", "--start-rate", "20", "--step-time", "200ms", "-t", "200ms"];
    // The limit: replies to MAIL take 50 ms, and there are two sessions.
    drop(sink);
    let sink = Sink::start(&["--delay", "mail=50ms"]);
    let own = ["source", sink.address.as_str(), "--warm-up", "0s", "-s", "2", "--json", &source_json];
    let found = run(&[&own, &words[..]].concat());
    let said = text(&found);
    if found.status.success() {
        let result = json(&files.path("json"));
        assert!(result["search"].as_array().expect("steps").len() >= 2, "{said}");
        assert!(result["run"]["target_rate"].as_f64().expect("a rate") < 100.0, "{said}");
    } else {
        // On a machine so loaded that not even this is met, it says so.
        assert!(said.contains("no rate meets"), "{said}");
    }
}

#[test]
fn a_difficult_provider_is_seen_as_one() {
    let difficult =
        ["--tempfail", "rcpt=30%", "--reject", "content=20%", "--drop", "data=5%", "--connection-messages", "9"];
    let files = Files::new();
    let (at_source, source_json) = (files.word("source"), files.word("json"));
    let (at_sink, sink_json) = (files.word("sink"), files.word("sink.json"));
    let all = [&difficult[..], &["--ledger", &at_sink, "--json", &sink_json]].concat();
    let sink = Sink::start(&all);
    let words = ["-n", "500", "-s", "10", "--quiet", "--ledger", &at_source, "--json", &source_json];
    let sent = run(&[&["source", sink.address.as_str()], &words[..]].concat());
    assert!(sent.status.success(), "{}", text(&sent));
    sink.stop();
    let result = json(&files.path("json"));
    let totals = &result["totals"];
    assert_eq!(number(totals, "/begun"), 500);
    let sum: u64 = ["/acknowledged", "/tempfailed", "/rejected", "/failed"].iter().map(|n| number(totals, n)).sum();
    assert_eq!(sum, 500, "every message has one outcome: {totals}");
    assert!(number(&result, "/replies/RCPT 451") > 50);
    assert!(number(&result, "/replies/final reply 550") > 30);
    assert!(number(&result, "/replies/MAIL 421") > 5);
    assert!(result["errors"].to_string().contains("the server"), "dropped connections: {}", result["errors"]);
    assert_eq!(number(totals, "/acknowledged"), number(&json(&files.path("sink.json")), "/messages"));
    let audited = run(&["audit", "--source", &at_source, "--sink", &at_sink]);
    assert!(audited.status.success(), "{}", text(&audited));
}

#[test]
fn limits_per_client_and_outages_are_answered_with_421() {
    let sink = Sink::start(&["--client-connections", "2", "--tarpit", "0%:1s"]);
    let files = Files::new();
    let source_json = files.word("json");
    let sent = run(&["source", &sink.address, "-n", "40", "-s", "6", "--quiet", "--json", &source_json]);
    assert!(sent.status.success(), "{}", text(&sent));
    assert!(number(&json(&files.path("json")), "/replies/banner 421") > 0);

    let out = Sink::start(&["--outage", "0s-1h:421"]);
    let sent = run(&["source", &out.address, "-n", "1"]);
    assert!(!sent.status.success() && text(&sent).contains("421"), "{}", text(&sent));

    let slow = Sink::start(&["--tarpit", "100%:1ms", "--delay", "rcpt=5ms"]);
    let sent = run(&["source", &slow.address, "-n", "4", "-s", "2", "--quiet", "--json", &source_json]);
    assert!(sent.status.success(), "{}", text(&sent));
    let result = json(&files.path("json"));
    let phases = result["phases"].as_array().expect("phases");
    let rcpt = phases.iter().find(|phase| phase["name"] == "RCPT").expect("RCPT");
    assert!(rcpt["latency"]["min_us"].as_u64().expect("a time") >= 5_000, "{rcpt}");
}

#[test]
fn idle_connections_stay_open_beside_the_load() {
    let (source, sink) = plain(&[], &["--idle", "20"]);
    assert!(number(&source, "/totals/connections") <= 25);
    assert!(number(&sink, "/connections") >= 6);
}

#[test]
fn the_audit_finds_what_is_lost_doubled_and_altered() {
    let files = Files::new();
    let (at_source, at_sink) = (files.word("source"), files.word("sink"));
    let sink = Sink::start(&["--messages", "100", "--ledger", &at_sink]);
    let sent = run(&["source", &sink.address, "-n", "100", "-s", "4", "--quiet", "--ledger", &at_source]);
    assert!(sent.status.success(), "{}", text(&sent));
    sink.finish();
    let good = fs::read_to_string(files.path("sink")).expect("a ledger");
    let lines: Vec<&str> = good.lines().collect();
    let end = |count: usize| format!("# end {count}");
    let with = |name: &str, lines: Vec<String>| {
        fs::write(files.path(name), lines.join("\n") + "\n").expect("written");
        run(&["audit", "--source", &at_source, "--sink", &files.word(name)])
    };
    let owned = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let clean = with("clean", owned());
    assert!(clean.status.success() && text(&clean).contains("audit: clean"), "{}", text(&clean));

    let mut lost = owned();
    lost.remove(5);
    lost[100] = end(99);
    let mut doubled = owned();
    doubled.insert(5, lines[7].to_owned());
    doubled[102] = end(101);
    let mut altered = owned();
    altered[5] = altered[5].replacen('+', "!", 1);
    for (name, ledger, words) in
        [("lost", lost, ": lost"), ("doubled", doubled, "2 times"), ("altered", altered, ": altered")]
    {
        let found = with(name, ledger);
        assert_eq!(found.status.code(), Some(1), "{name}: {}", text(&found));
        assert_eq!(text(&found).matches(words).count(), 1, "{name}: {}", text(&found));
        assert!(text(&found).contains("audit: FAILED"));
    }

    let mut cut = owned();
    cut.pop();
    let found = with("cut", cut);
    assert_eq!(found.status.code(), Some(2));
    assert!(text(&found).contains("has no end"), "{}", text(&found));
}

#[test]
fn a_relay_that_changes_a_byte_is_caught_by_the_hash() {
    // A sink records what arrives: this one is told to expect PROXY headers, and gets a message by hand whose body is not
    // what its field claims.
    let files = Files::new();
    let at_sink = files.word("sink");
    let sink = Sink::start(&["--messages", "1", "--ledger", &at_sink]);
    let mut client = std::net::TcpStream::connect(&sink.address).expect("connects");
    let message = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\
                   X-Loadgen-Id: 0000000000000001-000000000002-0000000000000003\r\n\r\nnot it\r\n.\r\nQUIT\r\n";
    std::io::Write::write_all(&mut client, message.as_bytes()).expect("sent");
    let mut replies = String::new();
    client.read_to_string(&mut replies).expect("answered");
    assert!(replies.contains("221"), "{replies}");
    sink.finish();
    let ledger = fs::read_to_string(files.path("sink")).expect("a ledger");
    assert!(ledger.lines().nth(1).expect("a line").starts_with("! "), "{ledger}");
}

#[test]
fn errors_say_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let refused = run(&["source", &free.to_string(), "-n", "1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("connection refused") && text(&refused).contains("posthaste-loadgen sink"));

    let sink = Sink::start(&["--without", "chunking"]);
    let missing = run(&["source", &sink.address, "-n", "1", "--chunking"]);
    assert!(text(&missing).contains("does not offer CHUNKING"), "{}", text(&missing));
    let tls = run(&["source", &sink.address, "-n", "1", "--tls", "starttls"]);
    assert!(text(&tls).contains("refuses STARTTLS"), "{}", text(&tls));
    let lmtp = run(&["source", &sink.address, "-n", "1", "--tls", "implicit"]);
    assert!(text(&lmtp).contains("--tls starttls"), "{}", text(&lmtp));
    let demo = run(&["demo", "--posthaste", "/nonexistent/posthaste"]);
    assert!(text(&demo).contains("there is no /nonexistent/posthaste"), "{}", text(&demo));
}

#[test]
fn the_sink_tests_itself() {
    let tested = run(&["sink", "--self-test", "--quiet"]);
    assert!(tested.status.success(), "{}", text(&tested));
    for words in ["us of CPU per message", "0 altered, 0 doubled"] {
        assert!(text(&tested).contains(words), "{}", text(&tested));
    }
}

#[test]
fn the_demo_ends_clean_with_all_it_started() {
    // The relay is another package's binary: `cargo test --workspace` builds it beside ours.
    let relay = Path::new(BINARY).with_file_name("posthaste");
    if !relay.is_file() {
        eprintln!("SKIPPED: no relay at {}; cargo build makes it", relay.display());
        return;
    }
    let files = Files::new();
    let folder = files.word("demo");
    let shown = run(&["demo", "--time", "2s", "--rate", "50", "--size", "2K", "--folder", &folder]);
    assert!(shown.status.success(), "{}", text(&shown));
    let result = json(&files.path("demo/summary.json"));
    assert!(number(&result, "/audit/acknowledged") > 0, "{}", text(&shown));
    assert_eq!(number(&result, "/audit/acknowledged"), number(&result, "/audit/intact"));
    assert_eq!(number(&result, "/audit/acknowledged"), number(&result, "/sink/first"));
    let page = fs::read_to_string(files.path("demo/report.html")).expect("a page");
    assert!(page.contains("Audit: clean") && number(&result, "/server/pid") > 0);
    let words = text(&shown);
    let pid = words.split("(process ").nth(1).and_then(|rest| rest.split(')').next()).expect("it names the process");
    assert!(!Path::new("/proc").join(pid).exists(), "the relay still runs");
    assert!(!files.path("demo/spool").exists(), "its spool is removed");
}
