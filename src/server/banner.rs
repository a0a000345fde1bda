//! What `run` prints: where it listens, and how a first message is sent.

use std::fmt::Write;

use crate::config::Config;
use crate::listener::settings::Protocol;

/// The lines for the terminal.
pub fn banner(config: &Config, shards: u16, embedded: bool) -> String {
    let mut out = format!("posthaste {} on {}, {shards} shards\n", env!("CARGO_PKG_VERSION"), config.server.hostname);
    for listener in &config.listeners {
        let protocol = match listener.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        };
        let tls = match (listener.tls.enable, listener.tls.implicit) {
            (true, true) => ", TLS from the first octet",
            (true, false) => ", STARTTLS",
            (false, _) => "",
        };
        for address in &listener.bind {
            let _ = writeln!(out, "  {protocol} on {address} ({}{tls})", listener.id); // a String takes everything
        }
    }
    let _ =
        writeln!(out, "  spool in {}, control socket {}", config.spool.path.display(), config.control.socket.display());
    if config.observe.prometheus.enable {
        let _ = writeln!(out, "  metrics on http://{}/metrics", config.observe.prometheus.bind);
    }
    if embedded {
        out.push_str(FIRST_MESSAGE);
    }
    out
}

const FIRST_MESSAGE: &str = "
These are the embedded defaults: mail for localhost and posthaste.test is taken and kept as Maildirs in ./var/mail.
Send a first message from another terminal, and look at it:

  printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl -sS smtp://127.0.0.1:2525 \\
    --mail-from you@localhost --mail-rcpt me@posthaste.test -T -
  cat var/mail/posthaste.test/me/new/*

Your own configuration starts with `posthaste config reference`. Ctrl-C stops in order.
";
