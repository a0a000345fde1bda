//! Independent software on both sides: swaks, curl, smtplib, Postfix's smtp-source and smtp-sink,
//! aiosmtpd, dovecot's LMTP server, Postfix as the next hop.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::harness::server::files_below;
use crate::harness::{Server, Sink, eventually, free_port, peer};
use crate::relay::relay_to;

/// A child that is ended with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), nix::sys::signal::Signal::SIGTERM); // it may have ended by itself
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it is installed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}:\n{text}");
    text
}

fn listening(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn swaks_sends_in_every_way() {
    if !peer("swaks") {
        return;
    }
    let sink = Sink::start(&["PIPELINING", "CHUNKING", "8BITMIME"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let at = format!("127.0.0.1:{}", server.port);
    let lmtp = format!("127.0.0.1:{}", server.lmtp_port);
    run("swaks", &["--server", &at, "--from", "a@one.test", "--to", "b@two.test"]);
    run("swaks", &["--server", &at, "--from", "a@one.test", "--to", "b@two.test", "--pipeline"]);
    run("swaks", &["--server", &lmtp, "--protocol", "LMTP", "--from", "a@one.test", "--to", "b@two.test,c@two.test"]);
    eventually("three messages arrive", || sink.count() == 3);
    server.drained();
}

#[test]
fn curl_sends_a_file() {
    if !peer("curl") {
        return;
    }
    let sink = Sink::start(&["PIPELINING", "CHUNKING", "8BITMIME"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let file = server.path("mail.txt");
    fs::write(&file, "Subject: from curl\r\n\r\n.hello\r\n").expect("written");
    let url = format!("smtp://127.0.0.1:{}/client.test", server.port);
    let file = file.display().to_string();
    run("curl", &["-sS", &url, "--mail-from", "a@one.test", "--mail-rcpt", "b@two.test", "-T", &file]);
    eventually("it arrives", || sink.count() == 1);
    assert!(sink.arrived()[0].content.ends_with(b"\r\n\r\n.hello\r\n"));
}

#[test]
fn smtplib_sends_to_many() {
    if !peer("python3") {
        return;
    }
    let sink = Sink::start(&["PIPELINING", "8BITMIME", "DSN"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let script = format!(
        "import smtplib\nwith smtplib.SMTP('127.0.0.1', {}) as s:\n  \
         r = s.sendmail('a@one.test', ['u%d@two.test' % n for n in range(40)], 'Subject: x\\r\\n\\r\\nhi')\n  assert r == {{}}, r\n",
        server.port
    );
    run("python3", &["-c", &script]);
    eventually("it arrives", || sink.arrived().iter().map(|m| m.rcpt.len()).sum::<usize>() == 40);
}

#[test]
fn smtp_source_to_smtp_sink() {
    if !peer("smtp-source") || !peer("smtp-sink") {
        return;
    }
    let (port, server_folder) = (free_port(), tempfile::tempdir().expect("a folder"));
    let folder = server_folder.path().display().to_string();
    fs::write(server_folder.path().join("main.cf"), format!("mail_owner = postfix\nqueue_directory = {folder}\n"))
        .expect("written");
    let mails = server_folder.path().join("mails"); // one file for each that arrives
    fs::create_dir(&mails).expect("made");
    fs::set_permissions(server_folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(&mails, fs::Permissions::from_mode(0o777)).expect("ours");
    let mut command = Command::new("smtp-sink");
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    let sink = command
        .args(["-c", "-d", "%M.", &format!("127.0.0.1:{port}"), "500"])
        .current_dir(&mails)
        .env("MAIL_CONFIG", &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    let _sink = Guard(sink);
    eventually("smtp-sink listens", || listening(port));
    let server = Server::start(&relay_to(port, ""));
    let all = many_to(&server, "b@two.test");
    server.drained();
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), all as f64);
    assert_eq!(server.metric("posthaste_delivery_recipients_delivered_total"), all as f64);
    assert_eq!(files_below(&mails).len(), all, "each arrived once");
}

/// Has smtp-source send as many messages as POSTHASTE_JOB_MESSAGES says (2000); gives their number.
fn many_to(server: &Server, to: &str) -> usize {
    let many = std::env::var("POSTHASTE_JOB_MESSAGES").unwrap_or_else(|_| "2000".to_owned());
    let at = format!("inet:127.0.0.1:{}", server.port);
    run("smtp-source", &["-4", "-d", "-s", "20", "-m", &many, "-l", "2048", "-f", "a@one.test", "-t", to, &at]);
    many.parse().expect("a number")
}

#[test]
fn aiosmtpd_takes_our_mail() {
    let here =
        Command::new("/usr/bin/python3").args(["-c", "import aiosmtpd"]).output().is_ok_and(|o| o.status.success());
    if !here {
        assert!(std::env::var_os("POSTHASTE_REQUIRE_PEERS").is_none(), "python3-aiosmtpd is required here and absent");
        eprintln!("SKIPPED: python3-aiosmtpd is not installed; this check against a real peer did not run");
        return;
    }
    let port = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let mailbox = folder.path().join("mail");
    let maildir = format!("{}", mailbox.display());
    let child = Command::new("/usr/bin/python3")
        .args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox", &maildir])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let _child = Guard(child);
    eventually("aiosmtpd listens", || listening(port));
    let server = Server::start(&relay_to(port, ""));
    let mut client = crate::harness::Client::greeted(server.port);
    for n in 0..10 {
        let reply = client.mail("a@one.test", &["b@two.test"], &format!("Subject: {n}\r\n\r\n..dots\r\nbody {n}"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    server.drained();
    let kept = files_below(&mailbox.join("new"));
    assert_eq!(kept.len(), 10);
    let text = fs::read_to_string(&kept[0]).expect("text");
    assert!(text.contains("\n.dots\n"), "{text}");
}

#[test]
fn dovecot_takes_our_mail_by_lmtp() {
    if !peer("dovecot") || !peer("lmtp") || !is_root() {
        return;
    }
    let port = free_port();
    let folder = tempfile::Builder::new().prefix("dovecot").tempdir_in("/tmp").expect("a folder");
    let dir = folder.path().display().to_string();
    let _ = Command::new("chmod").args(["755", &dir]).status();
    fs::create_dir(folder.path().join("mail")).expect("made");
    let _ = Command::new("chown").args(["nobody:nogroup", &format!("{dir}/mail")]).status();
    fs::write(folder.path().join("users"), "known::65534:65534::/nonexistent::\nfull::65534:65534::/nonexistent::\n")
        .expect("written");
    let conf = format!(
        "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/log\nprotocols = lmtp\nssl = no\n\
         default_internal_user = nobody\ndefault_login_user = nobody\ndefault_internal_group = nogroup\n\
         mail_location = maildir:{dir}/mail/%n\nfirst_valid_uid = 1\nmail_uid = 65534\nmail_gid = 65534\nauth_username_format = %n\n\
         passdb {{\n driver = passwd-file\n args = {dir}/users\n}}\n\
         userdb {{\n driver = passwd-file\n args = {dir}/users\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n address = 127.0.0.1\n port = {port}\n }}\n}}\n\
         service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n"
    );
    let conf_path = folder.path().join("dovecot.conf");
    fs::write(&conf_path, conf).expect("written");
    let child = Command::new("dovecot")
        .args(["-F", "-c"])
        .arg(&conf_path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    let _child = Guard(child);
    eventually("dovecot's LMTP listens", || listening(port));
    let server = Server::start(&relay_to(port, "").replace("protocol = \"smtp\"\ntls", "protocol = \"lmtp\"\ntls"));
    let mut client = crate::harness::Client::greeted(server.port);
    let reply = client.mail("", &["known@two.test", "unknown@two.test"], "Subject: x\r\n\r\nbody\r\n.");
    assert!(reply.starts_with("250"), "{reply}");
    server.drained();
    assert_eq!(
        files_below(&folder.path().join("mail/known/new")).len(),
        1,
        "{}",
        fs::read_to_string(folder.path().join("log")).unwrap_or_default()
    );
    assert_eq!(server.metric("posthaste_delivery_recipients_delivered_total"), 1.0);
    assert_eq!(server.metric("posthaste_delivery_recipients_failed_total"), 1.0);
    if !peer("smtp-source") {
        return;
    }
    let all = many_to(&server, "full@two.test");
    server.drained();
    assert_eq!(files_below(&folder.path().join("mail/full/new")).len(), all, "each is in the mailbox, once");
}

#[test]
fn postfix_is_our_next_hop() {
    if !peer("postfix") || !is_root() {
        return;
    }
    let (port, folder) =
        (free_port(), tempfile::Builder::new().prefix("postfix").tempdir_in("/tmp").expect("a folder"));
    let dir = folder.path().display().to_string();
    let sink = Sink::start(&["PIPELINING", "8BITMIME"]);
    let _ = Command::new("chmod").args(["755", &dir]).status();
    fs::create_dir(folder.path().join("spool")).expect("made");
    fs::create_dir(folder.path().join("data")).expect("made");
    let _ = Command::new("chown").args(["postfix", &format!("{dir}/data")]).status();
    let manifest = env!("CARGO_MANIFEST_DIR");
    let main = fs::read_to_string(format!("{manifest}/benches/compare/postfix-main.cf")).expect("in the repository");
    let master =
        fs::read_to_string(format!("{manifest}/benches/compare/postfix-master.cf")).expect("in the repository");
    let main = main.replace("@DIR@", &dir).replace("@SINK@", &sink.port.to_string()).replace("@HOLD@", "");
    fs::write(folder.path().join("main.cf"), main).expect("written");
    fs::write(folder.path().join("master.cf"), master.replace("@PORT@", &port.to_string())).expect("written");
    let postfix = |verb: &str| Command::new("postfix").args(["-c", &dir, verb]).output().expect("it is installed");
    postfix("set-permissions");
    let started = postfix("start");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let result = std::panic::catch_unwind(|| {
        eventually("Postfix listens", || listening(port));
        let server = Server::start(&relay_to(port, ""));
        let mut client = crate::harness::Client::greeted(server.port);
        for _ in 0..20 {
            let reply = client.mail("a@one.test", &["b@two.test"], "Subject: through two\r\n\r\n..a\r\nb");
            assert!(reply.starts_with("250"), "{reply}");
        }
        server.drained();
        eventually("all went through both", || sink.count() == 20);
        assert!(sink.arrived()[0].content.ends_with(b"\r\n\r\n.a\r\nb\r\n"));
        // It takes chunks, and nothing binary: text goes by BDAT, the rest as base64.
        let offer = crate::harness::Client::connect(port).ok("EHLO x.test", 250);
        assert!(offer.contains("CHUNKING") && !offer.contains("BINARYMIME"), "{offer}");
        let content = b"Subject: x\r\n\r\n\0binary\n\r";
        client.ok("MAIL FROM:<a@one.test> BODY=BINARYMIME", 250);
        client.ok("RCPT TO:<b@two.test>", 250);
        client.send(&[format!("BDAT {} LAST\r\n", content.len()).as_bytes(), content].concat());
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
        eventually("it goes through both", || sink.count() == 21);
        let message = sink.arrived().pop().expect("counted");
        let text = String::from_utf8_lossy(&message.content);
        let octets = data_encoding::BASE64.encode(b"\0binary\n\r");
        assert!(text.contains("Content-Transfer-Encoding: base64") && text.contains(&octets), "{text}");
    });
    postfix("stop");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
