//! `posthaste config reference`: every knob with its meaning, rendered from the definitions that read it.

use super::resolve;
use crate::schema::{Document, Findings, Reader, reference};

const HEAD: &str = "\
# Every setting of Posthaste with its meaning, type and default. Rendered from the definitions that read
# them: `posthaste config reference` prints this file, and a test keeps it equal. Nothing here is needed:
# start from config/examples instead, and copy from here what you want to change.
#
# An uncommented line gives the default, or an example where there is none. ID stands for a name of your choice.
# A duration is a number with its unit: 10ms, 30s, 5m, 1h, 7d. A size is a number of bytes or a string such
# as \"100MB\" (powers of 1024). A rate is a number per duration: \"100/1m\". An expression is a plain value, a string
# such as \"remote_ip = '10.0.0.1'\", or a list [ { if = \"…\", then = \"…\" }, { else = \"…\" } ].
# Macros in strings: %{env:NAME}%, %{file:/path}%, %{cfg:server.hostname}%.
# A change takes effect by `posthaste reload` unless its entry says that it needs a restart.
";

/// Every table and knob.
fn describe() -> Findings {
    let document = Document::empty();
    Reader::describe(&document).with_fact("server.hostname", "mx.example.org".to_owned()).read(resolve::read).1
}

/// The text of `config/reference.toml`.
pub fn reference() -> String {
    format!("{HEAD}{}", reference::render(&describe().records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_what_the_definitions_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/reference.toml");
        let rendered = reference();
        if std::env::var_os("POSTHASTE_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &rendered).expect("config/ is writable");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == rendered,
            "config/reference.toml is not what the definitions say: run the tests once with POSTHASTE_WRITE_REFERENCE=1"
        );
    }

    /// Every line of the reference is what it says it is: with all of them in force nothing is refused, but for
    /// pairs of which a file may set only one.
    #[test]
    fn the_reference_can_be_uncommented() {
        struct Pem(rcgen::CertifiedKey<rcgen::KeyPair>);
        impl crate::schema::Environment for Pem {
            fn variable(&self, name: &str) -> Option<String> {
                Some(name.to_owned())
            }
            fn file(&self, path: &str) -> Result<String, String> {
                Ok(if path.ends_with(".key") { self.0.signing_key.serialize_pem() } else { self.0.cert.pem() })
            }
        }
        let bare = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])).map(str::to_owned);
        let text: String = reference().lines().filter_map(bare).map(|line| line + "\n").collect();
        let text = text.replace("[queue.source-ip.ID]", "[queue.source-ip.\"192.0.2.1\"]");
        assert!(text.lines().count() > 50);
        let pem = Pem(rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).expect("a certificate"));
        if let Err(refused) = super::super::load_text("reference", &text, &pem) {
            let is_pair = |fault: &crate::schema::Fault| {
                fault.kind == crate::schema::FaultKind::Conflict || fault.kind.is_warning()
            };
            assert!(refused.faults().iter().all(is_pair), "{refused}");
        }
    }

    #[test]
    fn every_knob_says_what_it_means() {
        let findings = describe();
        for record in &findings.records {
            if let crate::schema::Record::Knob(knob) = record {
                assert!(knob.doc.ends_with('.'), "{} has no sentence", knob.pattern);
            }
        }
        assert_eq!(findings.faults, []);
    }
}
