//! What an operator does: listing, asking why, holding, releasing, removing, reloading, stopping.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Client, PATIENCE, Server, Sink, eventually, free_port};
use crate::relay::relay_to;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn queued_at_dead_port() -> (Server, String, u16) {
    let port = free_port();
    let server = Server::start(&relay_to(port, "").replace("\"1s\"", "\"1h\""));
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
    let id = reply.split_whitespace().find(|word| word.matches('-').count() == 2).expect("an id").trim_end_matches('.');
    eventually("it was tried", || server.metric("posthaste_delivery_recipients_deferred_total") == 1.0);
    (server, id.to_owned(), port)
}

#[test]
fn every_question_about_a_queued_message_has_an_answer() {
    let (server, id, _) = queued_at_dead_port();
    let list = server.command(&["queue", "list"]);
    assert!(list.contains(&id) && list.contains("b@two.test"), "{list}");
    let show = server.command(&["queue", "show", &id]);
    assert!(show.contains("1 attempt") && show.contains("a@one.test"), "{show}");
    let why = server.command(&["queue", "why", &id]);
    assert!(why.contains("waits for") && why.contains("next"), "{why}");
    let unknown = server.command_output(&["queue", "show", "00-0001-ffffffff"]);
    assert!(!unknown.status.success());
    let garbage = server.command_output(&["queue", "show", "../../etc/passwd"]);
    assert!(!garbage.status.success());
    assert!(server.command(&["stats"]).contains("session_messages_accepted"));
}

/// The seconds from its acceptance until the first recipient of a message is given up, as `queue show` has it.
fn given_up_after_s(row: &serde_json::Value) -> f64 {
    let time = |value: &serde_json::Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .unwrap_or_else(|| panic!("no time in {row}"))
    };
    (time(&row["recipients"][0]["expires"]) - time(&row["accepted"])).total(jiff::Unit::Second).expect("a span")
}

#[test]
fn it_is_said_when_a_recipient_is_given_up() {
    let port = free_port();
    let schedules =
        "schedule = [ { if = \"rcpt_domain = 'counts.test'\", then = \"'counts'\" }, { else = \"'quick'\" } ]";
    let config = relay_to(
        port,
        "[queue.schedule.counts]\nqueue-name = \"quick\"\nmax-attempts = 7\nretry = [\"1h\"]\n\
                                 [session.extensions]\ndeliver-by = \"1d\"",
    )
    .replace("[\"1s\"]", "[\"1h\"]")
    .replace("expire = \"1h\"", "expire = \"2d\"")
    .replace("schedule = \"'quick'\"", schedules);
    let server = Server::start(&config);
    let mut client = Client::greeted(server.port);
    let mut row_of = |parameters: &str, to: &str| {
        client.ok(&format!("MAIL FROM:<a@one.test>{parameters}"), 250);
        client.ok(&format!("RCPT TO:<{to}>"), 250);
        client.ok("DATA", 354);
        client.send(b"Subject: x\r\n\r\nbody");
        let reply = client.ok("\r\n.", 250);
        let id = reply.split_whitespace().find(|word| word.matches('-').count() == 2).expect("an id");
        let id = id.trim_end_matches('.').to_owned();
        let row = json(&server.command(&["queue", "show", &id, "--json"]))["row"].clone();
        (id, row)
    };
    let (id, row) = row_of("", "b@two.test");
    let span = given_up_after_s(&row);
    assert!((span - 172_800.0).abs() < 1.0, "{row}");
    let expires = row["recipients"][0]["expires"].as_str().expect("a time").rsplit_once('.').expect("a fraction").0;
    for question in ["show", "why"] {
        let text = server.command(&["queue", question, &id]);
        assert!(text.contains(&format!("  expires   {expires}")), "{text}");
    }
    let (_, row) = row_of(" BY=3600;R", "b@two.test");
    let span = given_up_after_s(&row);
    assert!((span - 3600.0).abs() < 1.0, "the sender's own deadline comes first: {row}");
    let (id, row) = row_of("", "b@counts.test");
    assert_eq!((&row["recipients"][0]["expires"], &row["recipients"][0]["attempts_max"]), (&json("null"), &json("7")));
    let text = server.command(&["queue", "why", &id]);
    assert!(text.contains("  gives up  after 7 attempts"), "{text}");
}

#[test]
fn hold_release_retry_and_remove_do_what_they_say() {
    let (mut server, id, port) = queued_at_dead_port();
    server.command(&["queue", "hold", &id]);
    let sink = Sink::on(std::net::TcpListener::bind(("127.0.0.1", port)).expect("free"), &["PIPELINING"], |_| None);
    server.command(&["queue", "retry", &id]);
    assert!(json(&server.command(&["queue", "show", &id, "--json"]))["row"]["held"].as_bool().expect("a flag"));
    server.stop();
    server.launch(&[]);
    eventually("it is queued again", || server.metric("posthaste_queue_recipients") == 1.0);
    assert!(server.command(&["queue", "show", &id]).contains("held"), "a hold survives a restart");
    assert_eq!(sink.count(), 0);
    server.command(&["queue", "release", &id]);
    server.command(&["queue", "retry", &id]);
    eventually("it arrives", || sink.count() == 1);
    server.drained();

    let nothing = server.command_output(&["queue", "remove"]);
    assert!(!nothing.status.success(), "an action without a condition needs --all");
    drop(sink);
}

#[test]
fn removed_is_removed_also_after_a_restart() {
    let (mut server, id, _) = queued_at_dead_port();
    server.command(&["queue", "remove", &id]);
    server.drained();
    server.stop();
    let spool = server.path("spool").display().to_string();
    let check = server.command(&["spool", "check", &spool]);
    assert!(check.contains("0 messages") && check.ends_with("sound\n"), "{check}");
    let dump = server.command(&["spool", "dump", &spool, "--id", &id]);
    assert!(dump.contains("b@two.test") && dump.to_lowercase().contains("removed"), "{dump}");
    server.launch(&[]);
    assert_eq!(server.command(&["queue", "list"]).trim(), "no messages");
}

/// A sink that keeps every RCPT waiting until the gate is opened.
fn waiting_sink() -> (Sink, Arc<AtomicBool>) {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = is_open.clone();
    let sink = Sink::scripted(&["PIPELINING"], move |command| {
        let start = Instant::now();
        while command.starts_with("RCPT") && !gate.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    });
    (sink, is_open)
}

#[test]
fn why_names_the_limit_and_the_next_hop_that_mail_waits_for() {
    let dead = free_port();
    for (limits, name) in [
        ("threads-per-node = 1", "the limit queue.virtual.quick.threads-per-node"),
        ("connections-per-lane = 1", "the limit connections of lane relay:sink in quick"),
    ] {
        let (sink, is_open) = waiting_sink();
        let config = relay_to(sink.port, "[global]\nthread-pool = 1").replace("threads-per-node = 50", limits);
        let server = Server::start(&config);
        let mut client = Client::greeted(server.port);
        for to in ["first@two.test", "second@two.test"] {
            assert!(client.mail("a@one.test", &[to], "Subject: x\r\n\r\nbody").starts_with("250"));
            eventually("the first is under way", || sink.connections() == 1);
        }
        let why = |to: &str| {
            let list = json(&server.command(&["queue", "list", "--to", to, "--json"]));
            let id = list["rows"][0]["id"].as_str().map(str::to_owned).unwrap_or_else(|| panic!("{list}"));
            server.command(&["queue", "why", &id])
        };
        assert!(why("first@").contains("waits for the attempt under way, since "), "{}", why("first@"));
        eventually("the second waits for the limit", || why("second@").contains(name));
        is_open.store(true, Ordering::Release);
        eventually("both arrive", || sink.count() == 2);
        server.drained();
    }
    // What comes behind a failure of its next hop is put off untried, and says so.
    let server = Server::start(&relay_to(dead, "").replace("\"1s\"", "\"1h\""));
    let mut client = Client::greeted(server.port);
    for to in ["first@two.test", "second@two.test"] {
        assert!(client.mail("a@one.test", &[to], "Subject: x\r\n\r\nbody").starts_with("250"));
        eventually("the first was tried", || server.metric("posthaste_delivery_recipients_deferred_total") >= 1.0);
    }
    eventually("the second is put off with its lane", || {
        let list = server.command(&["queue", "list", "--to", "second@", "--json"]);
        let id = json(&list)["rows"][0]["id"].as_str().expect("an id").to_owned();
        server
            .command(&["queue", "why", &id])
            .contains("waits for its next attempt: it was put off untried, with its lane")
    });
}

#[test]
fn what_cannot_be_removed_yet_is_named() {
    let (sink, is_open) = waiting_sink();
    let server = Server::start(&relay_to(sink.port, "").replace("\"1s\"", "\"1h\""));
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
    let id = reply.split_whitespace().find(|word| word.matches('-').count() == 2).expect("an id").trim_end_matches('.');
    eventually("it is attempted", || sink.connections() == 1);
    let said = server.command(&["queue", "remove", id]);
    assert_eq!(said, format!("0 messages\nnot removed while it is attempted: {id}\n"));
    is_open.store(true, Ordering::Release);
    server.drained();
    assert_eq!(sink.count(), 1, "what was under way went on");
}

#[test]
fn reload_takes_good_files_and_refuses_bad_ones() {
    let sink = Sink::start(&["PIPELINING"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    let good = fs::read_to_string(server.config()).expect("the file");

    fs::write(server.config(), good.replace("[session.rcpt]\n", "[session.rcpt]\nmax-recipents = 5\n"))
        .expect("written");
    let refused = server.command_output(&["reload"]);
    let said = format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    assert!(!refused.status.success() && said.contains("max-recipients"), "names the nearest key: {said}");
    client.ok("NOOP", 250);

    let second = free_port();
    let changed = good.replace(
        "[server.listener.lmtp]",
        &format!("[server.listener.second]\nbind = \"127.0.0.1:{second}\"\nprotocol = \"smtp\"\ngreeting = \"Second here\"\n[server.listener.lmtp]"),
    );
    fs::write(server.config(), changed).expect("written");
    let said = server.command(&["reload"]);
    assert!(said.contains("second"), "{said}");
    let mut greeting = Client::connect_silent(second);
    assert!(greeting.reply().ends_with("Second here"));

    fs::write(server.config(), &good).expect("written");
    server.signal(Signal::SIGHUP);
    eventually("the listener goes", || std::net::TcpStream::connect(("127.0.0.1", second)).is_err());
    greeting.ok("EHLO x.test", 250);
    client.ok("NOOP", 250);
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = Server::start(&relay_to(sink.port, ""));
    let mut busy = Client::greeted(server.port);
    let mut idle = Client::greeted(server.port);
    busy.ok("MAIL FROM:<a@one.test>", 250);
    busy.ok("RCPT TO:<b@two.test>", 250);
    busy.ok("DATA", 354);
    busy.send(b"Subject: x\r\n\r\nhalf ");
    server.signal(Signal::SIGTERM);
    eventually("a session that has nothing under way is told", || {
        let last = idle.ask("NOOP");
        last.is_empty() || last.starts_with("421")
    });
    busy.send(b"done\r\n.\r\n");
    let reply = busy.reply();
    assert!(reply.starts_with("250") || reply.starts_with("421"), "{reply}");
    let accepted = reply.starts_with("250");
    server.stop();
    server.launch(&[]);
    if accepted {
        eventually("it arrives once", || sink.count() == 1);
    }
    server.drained();
    assert_eq!(sink.count(), usize::from(accepted));
}

#[test]
fn check_names_every_fault_and_the_reference_is_valid() {
    let server =
        Server::prepare("[session.rcpt]\nrelay = \"no_such_variable = 5\"\n[queue.route.x]\ntype = \"pigeon\"\n");
    let config = server.config().display().to_string();
    let output = server.command_output(&["check", "-c", &config]);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success());
    assert!(text.contains("no_such_variable") && text.contains("pigeon"), "{text}");

    let listener = "\n[server.listener.smtp]\nbind = \"127.0.0.1:2525\"\nprotocol = \"smtp\"\n";
    let reference = server.command(&["config", "reference"]) + listener;
    fs::write(server.path("reference.toml"), reference).expect("written");
    server.command(&["check", "-c", &server.path("reference.toml").display().to_string()]);
    server.command(&["config", "show"]);
}
