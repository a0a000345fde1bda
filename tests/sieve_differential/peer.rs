//! Dovecot's `sieve-test`, and what it prints.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{Actions, generate};

/// The program with a configuration of its own.
pub struct Peer {
    folder: tempfile::TempDir,
}

impl Peer {
    /// Nothing, and a loud line, where the program is absent; a failure where peers are required.
    pub fn start() -> Option<Peer> {
        let found = Command::new("sieve-test").arg("-h").output().is_ok();
        if !found {
            let required = std::env::var_os("POSTHASTE_REQUIRE_PEERS").is_some();
            assert!(!required, "sieve-test (dovecot-sieve) is required here and absent");
            println!("SKIPPED: no sieve-test here (Debian: dovecot-sieve)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // As root the program becomes another user, who must be able to read what is written here.
        Command::new("chmod").arg("-R").arg("a+rwx").arg(folder.path()).status().unwrap();
        let peer = Peer { folder };
        let user = if is_root() { "nobody".to_owned() } else { own("-un") };
        let group = if is_root() { "nogroup".to_owned() } else { own("-gn") };
        let path = peer.folder.path().display();
        let config = format!(
            "mail_location = maildir:{path}/mail\nmail_uid = {user}\nmail_gid = {group}\nmail_home = {path}/home\n\
             first_valid_uid = 1\nfirst_valid_gid = 1\nlog_path = /dev/stderr\n\
             plugin {{\n sieve_extensions = +editheader\n sieve_max_redirects = 3\n}}\n"
        );
        peer.write("dovecot.conf", &config);
        Some(peer)
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a script on a message.
    pub fn run(&self, script: &str, message: &str) -> Actions {
        let (script, message) = (self.write("script.sieve", script), self.write("message.eml", message));
        let _ = std::fs::remove_file(Path::new(&script).with_extension("svbin"));
        let output = Command::new("sieve-test")
            .arg("-c")
            .arg(self.folder.path().join("dovecot.conf"))
            .args(["-f", generate::SENDER, "-a", generate::RECIPIENT])
            .args([&script, &message])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains("final result: success") {
            return Err(said);
        }
        Ok(actions(&String::from_utf8_lossy(&output.stdout)))
    }
}

fn own(option: &str) -> String {
    let output = Command::new("id").arg(option).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn is_root() -> bool {
    own("-u") == "0"
}

/// The actions that are printed: a line with ` * ` each, lines with ` + ` about them below.
fn actions(printed: &str) -> BTreeSet<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_implicit = false;
    for line in printed.lines() {
        is_implicit |= line.starts_with("Implicit keep:");
        let line = line.trim_start();
        if let Some(flags) = line.strip_prefix("+ add IMAP flags:") {
            let mut flags: Vec<_> = flags.split_whitespace().map(str::to_lowercase).collect();
            flags.sort();
            if let Some((_, last)) = found.last_mut() {
                *last = flags.join(" ");
            }
        }
        let Some(action) = line.strip_prefix("* ") else { continue };
        let name = match action.split_once(": ") {
            Some(("store message in folder", "INBOX")) if is_implicit => "implicit keep".to_owned(),
            Some(("store message in folder", "INBOX")) => "keep".to_owned(),
            Some(("store message in folder", folder)) => format!("fileinto {folder}"),
            Some(("redirect message to", address)) => {
                format!("redirect {}", address.trim_matches(|c| matches!(c, '<' | '>')))
            }
            Some((what, reason)) if what.starts_with("reject message") => format!("reject {reason}"),
            _ => action.to_owned(),
        };
        found.push((name, String::new()));
    }
    let has_flags = |name: &str| name.starts_with("fileinto") || name.ends_with("keep");
    let lines =
        found.into_iter().map(|(name, flags)| if has_flags(&name) { format!("{name} [{flags}]") } else { name });
    super::settled(lines.collect())
}
