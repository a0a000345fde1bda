//! The room as a whole: what is accepted, what is refused and in which words, what a reload says.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// A certificate and its key, in PEM.
static IDENTITY: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
});

struct Outside;

impl Environment for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "BIND").then(|| "127.0.0.1:2526".to_owned())
    }
    fn file(&self, path: &str) -> Result<String, String> {
        match path {
            "/tls/mx.crt" => Ok(IDENTITY.0.clone()),
            "/tls/mx.key" => Ok(IDENTITY.1.clone()),
            "/tls/other.key" => Ok(rcgen::KeyPair::generate().expect("a key").serialize_pem()),
            _ => Err("no such file".to_owned()),
        }
    }
}

fn accepted(text: &str) -> Loaded {
    load_text("posthaste.toml", text, &Outside).unwrap_or_else(|refused| panic!("{refused}"))
}

/// The three listener examples of the founding documents, as they stand there.
const LISTENERS: [&str; 3] = [
    "[server.listener.\"smtp\"]\nbind = \"[::]:25\"\nprotocol = \"smtp\"\ngreeting = \"Welcome!\"\n",
    "[server.listener.\"submissions\"]\nbind = [\"[::]:465\"]\nprotocol = \"smtp\"\ntls.implicit = true\n",
    "[server.listener.\"lmtp\"]\nbind = [\"[::]:24\"]\nprotocol = \"lmtp\"\n",
];

/// The kinds of the warnings and their lines, but for the one about public listeners without a certificate.
fn kinds_but_self_signed(loaded: &Loaded) -> Vec<(FaultKind, Option<usize>)> {
    let all = loaded.warnings_json();
    let others = all.iter().filter(|warning| !warning.message.contains("self-signed"));
    others.map(|warning| (warning.kind, warning.line)).collect()
}

#[test]
fn a_self_signed_identity_in_public_is_warned_of() {
    let is_warned_of = |text: &str| accepted(text).warnings(false).contains("self-signed");
    let listener = |bind: &str, more: &str| format!("[server.listener.x]\nbind = {bind}\nprotocol = 'smtp'\n{more}");
    assert!(is_warned_of(&listener("['127.0.0.1:25', '[::]:25']", "")));
    assert!(is_warned_of(&listener("'192.0.2.1:25'", "")));
    for bind in ["'127.0.0.1:25'", "['[::1]:25', '127.8.8.8:26', '[::ffff:127.0.0.1]:27']"] {
        assert!(!is_warned_of(&listener(bind, "")), "{bind}");
    }
    assert!(!is_warned_of(&listener("'[::]:25'", "tls.enable = false")));
    let with = |made: rcgen::Certificate, key: &rcgen::KeyPair| {
        let (made, key) = (made.pem(), key.serialize_pem());
        listener("'[::]:25'", &format!("[certificate.c]\ncert = {made:?}\nprivate-key = {key:?}\n"))
    };
    let (root, key) = (rcgen::CertificateParams::default(), rcgen::KeyPair::generate().expect("a key"));
    assert!(is_warned_of(&with(root.self_signed(&key).expect("signed"), &key)), "configured, and self-signed as well");
    let mut leaf = rcgen::CertificateParams::new(vec!["mx.test".to_owned()]).expect("parameters");
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "mx.test");
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let signed = leaf.signed_by(&leaf_key, &rcgen::Issuer::new(root, key)).expect("signed");
    assert!(!is_warned_of(&with(signed, &leaf_key)));
}

#[test]
fn the_three_listeners_of_the_founding_documents_work_as_they_stand() {
    let loaded = accepted(&LISTENERS.concat());
    insta::assert_snapshot!("public_and_self_signed", loaded.warnings(false));
    let [smtp, submissions, lmtp] = &loaded.config.listeners[..] else { panic!("three listeners") };
    let bind = |text: &str| vec![text.parse::<std::net::SocketAddr>().expect("an address")];
    assert_eq!((&smtp.bind, smtp.greeting.as_deref()), (&bind("[::]:25"), Some("Welcome!")));
    assert_eq!(smtp.protocol, crate::listener::Protocol::Smtp);
    assert_eq!((&submissions.bind, submissions.tls.implicit), (&bind("[::]:465"), true));
    assert_eq!((&lmtp.bind, lmtp.protocol), (&bind("[::]:24"), crate::listener::Protocol::Lmtp));
    for example in LISTENERS {
        assert_eq!(accepted(example).config.listeners.len(), 1);
    }
}

#[test]
fn the_embedded_defaults_are_accepted_without_a_warning() {
    let loaded = load(None).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.warnings(false), "");
    let ports: Vec<u16> = loaded.config.listeners.iter().flat_map(|l| &l.bind).map(|address| address.port()).collect();
    assert_eq!(ports, [2525, 2525, 2587, 2587, 2465, 2465, 2424, 2424]);
    assert!(loaded.config.listeners.iter().flat_map(|l| &l.bind).all(|address| address.ip().is_loopback()));
}

#[test]
fn the_embedded_defaults_know_two_domains_and_relay_nothing() {
    let config = load(None).unwrap_or_else(|refused| panic!("{refused}")).config;
    for (domain, is_local) in [("localhost", true), ("posthaste.test", true), ("example.org", false)] {
        assert_eq!(config.lookups.is_local_domain("*", domain), is_local, "{domain}");
    }
    assert!(config.lookups.is_local_address("local", "anyone@posthaste.test"));
    assert_eq!(config.policy.rcpt.relay.as_constant(), Some(&false));
    assert_eq!(config.spool.path, Path::new("./var/spool"));
    let Some(crate::delivery::settings::Route::Local(local)) = config.delivery.routes.get("local") else {
        panic!("a local route")
    };
    assert_eq!(local.path, Path::new("./var/mail"));
}

#[test]
fn each_example_is_accepted_and_lacks_but_a_certificate() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("config/examples").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("readable");
        let loaded = load_text(&entry.file_name().to_string_lossy(), &text, &Outside);
        let loaded = loaded.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(kinds_but_self_signed(&loaded), [], "{:?}", entry.path());
        count += 1;
    }
    assert!(count >= 4, "{count} examples");
}

/// One file per fault: what people are told is kept beside it.
#[test]
fn bad_files_are_refused_in_these_words() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_config");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("tests/bad_config").flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        let refused = load_text(&name, &text, &Outside).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(!refused.to_string().contains("hunter2"), "{name} tells a secret");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/bad_config/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.trim_end_matches(".toml"), refused.to_string()));
    }
}

#[test]
fn keys_of_the_reference_product_are_accepted_with_a_warning() {
    let text = format!("{}[imap]\nrequest.max-size = 1\n[acme.le]\ncontact = ['a@b']\n", LISTENERS[0]);
    let loaded = accepted(&text);
    assert_eq!(kinds_but_self_signed(&loaded), [(FaultKind::Foreign, Some(5)), (FaultKind::NotYet, Some(7))]);
}

#[test]
fn listeners_of_other_protocols_are_skipped_with_a_warning() {
    let text = format!(
        "{}[server.listener.imap]\nbind = '[::]:143'\nprotocol = 'imap'\n[server.listener.http]\nbind = '[::]:80'\nprotocol = 'http'\n",
        LISTENERS[0]
    );
    let loaded = accepted(&text);
    assert_eq!(loaded.config.listeners.len(), 1);
    let kinds: Vec<_> = kinds_but_self_signed(&loaded).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [FaultKind::Foreign, FaultKind::NotYet]);
}

#[test]
fn a_reload_answers_with_what_changes() {
    let text = |listener: &str, spool: &str, key: &str| {
        format!(
            "server.hostname = 'a.example'\n[server.listener.{listener}\n[spool]\npath = '{spool}'\n\
             [certificate.x]\ncert = '%{{file:/tls/mx.crt}}%'\nprivate-key = \"\"\"{key}\"\"\"\n"
        )
    };
    // The same key, spelt with another line end: what changes is not shown.
    let key = &IDENTITY.1;
    let before = accepted(&text("a]\nbind = '%{env:BIND}%'\nprotocol = 'smtp'", "/a", key));
    let after = accepted(&text("b]\nbind = '[::1]:26'\nprotocol = 'lmtp'", "/b", &format!("{key}\n")));
    let diff = before.diff(&after);
    assert!(diff.needs_restart());
    insta::assert_snapshot!(diff);
    insta::assert_json_snapshot!(diff.changes[0]);
    assert!(before.diff(&before).is_empty());
}

#[test]
fn what_is_shown_holds_every_value_and_no_secret() {
    let loaded = accepted(&format!(
        "[server.listener.a]\nbind = '%{{env:BIND}}%'\nprotocol = 'smtp'\n\
         [certificate.x]\ncert = '%{{file:/tls/mx.crt}}%'\nprivate-key = '''{}'''\n\
         [queue.route.x]\ntype = 'relay'\naddress = 'relay.example'\nport = 465\nauth = {{ username = 'u', secret = 'hunter2' }}\n",
        IDENTITY.1
    ));
    let shown = loaded.show();
    assert!(!shown.contains("hunter2") && !shown.contains("BEGIN"), "{shown}");
    assert!(shown.contains("bind = '%{env:BIND}%'") && shown.contains("# max-connections = 8192"), "{shown}");
    // What is shown is TOML that means the same, the secret apart.
    let (_, faults) = Document::parse("shown", &shown);
    assert_eq!(faults, []);
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_is_a_fault() {
    let text = format!(
        "{}[certificate.x]\ncert = '%{{file:/tls/mx.crt}}%'\nprivate-key = '%{{file:/tls/other.key}}%'\n",
        LISTENERS[0]
    );
    let refused = load_text("t", &text, &Outside).expect_err("keys that differ");
    let told: Vec<_> = refused.json().iter().map(|fault| (fault.key.to_owned(), fault.line)).collect();
    assert_eq!(told, [("certificate.x.private-key".to_owned(), Some(7))]);
    assert!(!refused.to_string().contains("BEGIN"));
}

/// The examples of the vocabulary's own documentation: the MTA part of a 0.15 configuration loads.
#[test]
fn the_examples_of_the_vocabulary_load() {
    let loaded = accepted(include_str!("../../tests/vocabulary.toml"));
    let mut told: Vec<_> =
        loaded.warnings_json().iter().map(|warning| format!("{:?} {}", warning.kind, warning.key)).collect();
    told.sort();
    insta::assert_snapshot!(told.join("\n"));
    assert!(!loaded.warnings(false).contains("hunter2"));
    let config = &loaded.config;
    assert_eq!(config.delivery.routes.len(), 4);
    assert_eq!(config.policy.limiters.len(), 1);
    assert_eq!(config.limits.quotas.len(), 1);
    assert_eq!(config.server.blocked_ip.len(), 2);
    assert!(config.policy.rcpt.rewrite.as_constant().is_none());
}

/// What the reference would answer with a default is a fault here, at its column.
#[test]
fn expressions_are_faulted_at_their_column() {
    let relay = "[session.rcpt]\nrelay = [ { if = \"rcpt_domian = 'a'\", then = true }, { else = false } ]\n";
    let refused = load_text("t", &format!("{}{relay}", LISTENERS[0]), &Outside).expect_err("a typo");
    let fault = &refused.json()[0];
    assert_eq!((fault.line, fault.column, fault.key), (Some(6), Some(19), "session.rcpt.relay"));
    assert_eq!(fault.help, ["did you mean `rcpt_domain`?"]);
}

/// Pieces from which nearly right configurations are made.
const PIECES: &[&str] = &[
    "[server.listener.a]\n",
    "[[queue.limiter.inbound]]\n",
    "bind = ",
    "protocol = ",
    "\"smtp\"\n",
    "'[::]:25'\n",
    "[spool]\n",
    "path = ",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "'''",
    "\n",
    "5m",
    "server",
    ".",
    "listener",
    "%{cfg:server.hostname}%",
    "%{env:X}%",
    "0.if = 'x'\n",
    "tls.implicit = true\n",
    "-1",
    "1e9",
    "é",
    "\\",
    "#",
    "certificate.x.private-key = ",
    "hostname",
    "[session.rcpt]\n",
    "relay = ",
    "[ { if = \"local_port = 25\", then = true }, { else = false } ]\n",
    "[queue.route.x]\n",
    "type = ",
    "\"relay\"\n",
    "false\n",
    "9223372036854775808\n",
    "1979-05-27\n",
];

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES).prop_map(str::to_owned).boxed().prop_union("\\PC{0,8}".boxed()), 0..30)
    ) {
        let text = pieces.concat();
        match load_text("t", &text, &Outside) {
            Ok(loaded) => drop((loaded.show(), loaded.warnings(false))),
            Err(refused) => {
                prop_assert!(refused.count() > 0);
                drop((refused.to_string(), refused.json().len()));
            }
        }
    }
}

#[test]
fn events_are_told_where_and_how_the_file_says() {
    let with = |events: &str| format!("[server.listener.x]\nbind = '127.0.0.1:25'\nprotocol = 'smtp'\n{events}");
    let loaded = accepted(&with(
        "[events.a]\ntype = 'file'\npath = '/a'\n[events.b]\ntype = 'file'\npath = '/b'\nbacklog = '2MB'\nevents = ['tx.*']\n",
    ));
    let told: Vec<_> = loaded.config.events.iter().map(|one| (one.id.as_str(), one.backlog)).collect();
    assert_eq!(told, [("a", 1 << 30), ("b", 2 << 20)]);
    let shippers: Vec<_> = loaded.config.spool.shippers.iter().map(|one| (one.name.as_str(), one.backlog)).collect();
    assert_eq!(shippers, told);
    let off = accepted(&with("[events.a]\ntype = 'file'\npath = '/a'\nenable = false\n"));
    assert!(off.config.events.is_empty() && off.config.spool.shippers.is_empty());
    let memory = accepted(&(with("durability = 'memory'\n") + "[events.a]\ntype = 'file'\npath = '/a'\n"));
    assert!(memory.warnings(false).contains("the same as process"), "{}", memory.warnings(false));

    for (events, fault) in [
        ("[events.a]\npath = '/a'\n", "type"),
        ("[events.a]\ntype = 'file'\n", "path"),
        ("[events.'../a']\ntype = 'file'\npath = '/a'\n", "cannot be the id"),
        ("[events.a]\ntype = 'file'\npath = '/a'\nevents = ['delivery.*']\n", "a pattern with *"),
        (
            "[events.a]\ntype = 'file'\npath = '/a'\n[events.b]\ntype = 'file'\npath = '/a'\n",
            "two tables of events write /a",
        ),
    ] {
        let refused = load_text("test.toml", &with(events), &Outside).err().map(|refused| refused.to_string());
        assert!(refused.as_ref().is_some_and(|words| words.contains(fault)), "{events}: {refused:?}");
    }
}
