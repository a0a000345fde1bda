//! What a start finds and makes: a spool of somebody else, the embedded defaults.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::harness::server::files_below;
use crate::harness::{Client, Server, eventually, free_port, root};
use crate::relay::relay_to;

#[test]
fn a_spool_of_another_user_is_refused_with_the_way_out() {
    if !root() {
        return;
    }
    let mut server = Server::prepare(&relay_to(free_port(), "").replace("\"1s\"", "\"1h\""));
    fs::set_permissions(server.path(""), fs::Permissions::from_mode(0o777)).expect("ours");
    server.launch(&[]); // as root
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
    assert!(reply.starts_with("250"), "{reply}");
    server.stop();
    fs::remove_file(server.path("mail.log")).expect("stopped");
    server.amend("[server]\n", "[server]\nrun-as.user = \"nobody\"\n");
    let said = server.refused(&[]);
    let spool = server.path("spool").display().to_string();
    let way_out = format!("chown -R nobody: {spool}");
    assert!(said.contains("belongs to user 0") && said.contains(&way_out), "{said}");
    let done = Command::new("sh").args(["-c", &way_out]).status().expect("it runs");
    assert!(done.success());
    server.launch(&[]);
    eventually("the mail is there", || server.command(&["queue", "list"]).contains("b@two.test"));
    server.stop();
}

#[test]
fn the_embedded_defaults_do_not_fill_a_laptop() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its ports are fixed: where somebody has them, this cannot be tried.
    let ports = [2525, 2587, 2465, 2424];
    if ports.iter().any(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err()) {
        eprintln!("SKIPPED: a port of the embedded defaults is taken; they were not tried");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(["run", "--shards", "1"]).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let greets = || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", 2525)) else { return false };
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).is_ok() && &greeting == b"220"
    };
    eventually("it greets", greets);
    let reply = Client::greeted(2525).mail("a@one.test", &["b@posthaste.test"], "Subject: x\r\n\r\nbody");
    assert!(reply.starts_with("250"), "{reply}");
    let below = |name: &str| files_below(&folder.path().join(name));
    let is_new = |path: &std::path::PathBuf| path.display().to_string().contains("/new/");
    eventually("it is delivered", || below("var/mail").iter().any(is_new));
    // The segments are made in the background; all of them are there when no more come.
    let (mut last, mut same) = (0, 0);
    eventually("no more segments are made", || {
        let now = below("var/spool").iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 50
    });
    child.kill().expect("ours");
    child.wait().expect("ours");
    assert!((8 << 20..=64 << 20).contains(&last), "{last} bytes on one shard");
}
