//! JSON and HTML of runs through the real binary, with the server watched; and the name server as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;
use std::{env, fs};

const BINARY: &str = env!("CARGO_BIN_EXE_posthaste-loadgen");

/// A part of the program that listens, ended with its test.
struct Listening {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it; it says where it listens.
fn listening(words: &[&str]) -> Listening {
    let mut child = Command::new(BINARY).args(words).stdout(Stdio::piped()).spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let address = line.split(' ').nth(3).unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
    Listening { child, out, address }
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

/// The page's own JSON.
fn data_of(page: &str) -> serde_json::Value {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(page, options).expect("well-formed");
    let script = document.descendants().find(|node| node.attribute("id") == Some("summary")).expect("the data");
    serde_json::from_str(script.text().expect("text")).expect("JSON")
}

#[test]
fn a_source_writes_json_and_a_page_and_sees_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let word = |name: &str| path(name).to_string_lossy().into_owned();
    let sink = listening(&["sink", "--quiet", "--listen", "127.0.0.1:0"]);
    let (json_at, page_at) = (word("run.json"), word("run.html"));
    // Long enough for a look or two; how fast it goes does not matter.
    let own = ["source", sink.address.as_str(), "--quiet", "--rate", "100", "-t", "4s", "--warm-up", "500ms"];
    let sent = run(&[&own[..], &["--json", &json_at, "--report", &page_at]].concat());
    assert!(sent.status.success(), "{}", text(&sent));
    let result = json(&path("run.json"));
    assert_eq!(result["schema"], 1);
    let page = fs::read_to_string(path("run.html")).expect("written");
    assert_eq!(data_of(&page), result);
    let begun = result["totals"]["begun"].as_u64().expect("a number").to_string();
    assert!(page.contains(&format!("<td class=\"number\">{begun}</td>")), "{begun} is in a table");

    let server = &result["server"];
    assert_eq!(server["pid"], u64::from(sink.child.id()), "found by its port: {}", text(&sent));
    let samples = server["samples"].as_array().expect("samples");
    assert!(samples.len() >= 2 && samples.iter().all(|sample| sample["resident_bytes"].as_u64() > Some(100_000)));
    let last = samples.last().expect("one");
    assert!(last["switches_voluntary"].as_u64() > Some(0) && last["at_s"].as_f64() > Some(0.0), "{last}");
    assert!(server["measured"]["messages"] == result["totals"]["acknowledged"], "{server}");
    assert!(page.contains("CPU of the server") && text(&sent).contains("server (process "));

    let again = run(&["report", &json_at, "-o", &word("again.html")]);
    assert!(again.status.success(), "{}", text(&again));
    // What is seen is the same; in the data the last digit of a fraction may be read differently.
    let seen = |page: &str| page.split("<script").next().expect("a page").to_owned();
    let again = fs::read_to_string(path("again.html")).expect("written");
    assert_eq!(seen(&again), seen(&page), "the JSON is all there is");
    let refused = run(&["report", &word("again.txt")]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn who_is_not_there_is_not_watched() {
    let sink = listening(&["sink", "--quiet", "--listen", "127.0.0.1:0"]);
    let gone = run(&["source", &sink.address, "--quiet", "-n", "1", "--watch-pid", "4294967295"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(text(&gone).contains("no such process"), "{}", text(&gone));
    let unwatched = run(&["source", &sink.address, "--quiet", "-n", "1", "--no-watch"]);
    assert!(unwatched.status.success() && !text(&unwatched).contains("server (process"), "{}", text(&unwatched));
}

#[test]
fn the_name_server_answers_and_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("zone"), "# dead hosts\ndead.test TIMEOUT\n").expect("written");
    let (zone, counts) = (path("zone"), path("dns.json"));
    let (zone, counts) = (zone.to_string_lossy(), counts.to_string_lossy());
    let words = [
        "dns",
        "--listen",
        "127.0.0.1:0",
        "--mail",
        "test",
        "--zone",
        &zone,
        "--json",
        &counts,
        "--servfail",
        "txt=100%",
    ];
    let mut server = listening(&words);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    // A question by hand (RFC 1035 §4.1): id 7, one question, d5.test, then the type and class IN.
    let ask = |kind: u8| {
        let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x02d5\x04test\x00", &[0, kind, 0, 1]].concat();
        socket.send_to(&question, &server.address).expect("sent");
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).expect("answered");
        reply[..length].to_vec()
    };
    let mx = ask(15);
    assert_eq!((mx[1], mx[3] & 0x0f, mx[7]), (7, 0, 1), "one answer");
    assert!(mx.windows(4).any(|part| part == b"\x03mx1"));
    assert_eq!(ask(16)[3] & 0x0f, 2, "SERVFAIL");
    let ended = Command::new("kill").args(["-INT", &server.child.id().to_string()]).status().expect("kill is there");
    assert!(ended.success());
    let mut rest = String::new();
    server.out.read_to_string(&mut rest).expect("readable");
    assert!(server.child.wait().expect("ends").success());
    assert!(rest.contains("MX NOERROR") && rest.contains("TXT SERVFAIL"), "{rest}");
    let written = json(&path("dns.json"));
    assert_eq!((&written["questions"], &written["outcomes"]["MX NOERROR"]), (&2.into(), &1.into()), "{written}");
}
