//! The whole room at work on a small set of settings.

use std::net::SocketAddr;
use std::time::Duration;

use super::fault::to_json;
use super::render::render;
use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Toy {
    name: String,
    timeout: Duration,
    limits: Vec<(u32, Option<Size>)>,
    listeners: Vec<(String, (Vec<SocketAddr>, bool))>,
}

fn read(root: &Section<'_>) -> Toy {
    root.foreign("imap", "mailboxes are not ours");
    let (name, timeout) = root.table("server", "The server.", |s| {
        s.exclusive(&["name", "alias"]);
        s.key::<String>("alias").doc("Another name.").optional();
        (
            s.key("name").doc("Its name, in EHLO.").required(),
            s.key("timeout")
                .doc("Idle time.")
                .between(Duration::from_secs(1), Duration::from_secs(3600))
                .restart()
                .default(Duration::from_secs(300)),
        )
    });
    Toy {
        name,
        timeout,
        listeners: root.named("listener", "Where connections come in.", |s, _| {
            s.key::<String>("secret").doc("Hush.").optional();
            (
                s.key("bind").doc("Addresses.").example("\"[::]:25\"").required(),
                s.key("tls").doc("Encrypted.").default(false),
            )
        }),
        limits: root.items("limit", "Limits.", |s| {
            (
                s.key("count").doc("How many.").unit("messages").between(1, 10).default(5),
                s.key("size").doc("How big.").optional(),
            )
        }),
    }
}

fn run(text: &str) -> (Toy, Document, Vec<Fault>) {
    let (document, mut faults) = Document::parse("toy.toml", text);
    let (toy, findings) = Reader::new(&document).read(read);
    faults.extend(findings.faults);
    (toy, document, faults)
}

#[test]
fn a_good_file_gives_values_and_no_fault() {
    let (toy, _, faults) =
        run("listener.a.bind = '[::]:25'\nlistener.b = { bind = ['127.0.0.1:1', '127.0.0.1:2'], tls = true }\n\
         [server]\nname = 'x'\ntimeout = '2m'\n[[limit]]\ncount = 3\n[[limit]]\nsize = '1MB'\n");
    assert_eq!(faults, []);
    assert_eq!((toy.name.as_str(), toy.timeout), ("x", Duration::from_secs(120)));
    assert_eq!(toy.limits, [(3, None), (5, Some(Size(1 << 20)))]);
    assert_eq!(
        toy.listeners.iter().map(|(_, (bind, tls))| (bind.len(), *tls)).collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );
}

#[test]
fn arrays_may_be_spelled_by_numbered_keys_or_names() {
    let (toy, _, faults) =
        run("server.name = 'x'\nlimit.0.count = 2\nlimit.1.count = 4\nlistener.a.bind.0 = '[::1]:1'\n");
    assert_eq!((toy.limits.len(), faults), (2, vec![]));
    let (toy, _, faults) = run("server.name = 'x'\nlimit.per-ip.count = 2\n");
    assert_eq!((toy.limits.len(), faults), (1, vec![]));
}

#[test]
fn all_faults_are_told_at_once() {
    let (_, document, faults) = run("\
imap.x = 1
[server]
alias = 'y'
timeout = '2 hours'
tiemout = '5m'
[listener.smtp]
bind = ['[::]:25', 25, 'localhost:25']
tls = 'yes'
secret = 5
[listener]
lmtp = 'x'
[[limit]]
count = 11
size = -1
[[limit]]
count = 99999999999
what.is = 'this'
[spooool]
");
    insta::assert_snapshot!(render(&document, &faults, false));
    insta::assert_json_snapshot!(to_json(&document, &faults[..3]));
}

#[test]
fn faults_without_end_are_cut_and_that_is_told() {
    let text: String = (0..2000).map(|number| format!("x{number} = 1\n")).collect();
    let (_, _, faults) = run(&text);
    assert_eq!(faults.len(), 501);
    assert!(faults.last().is_some_and(|fault| fault.title.starts_with("more than 500 faults")));
}

#[test]
fn two_that_exclude_each_other_are_both_shown() {
    let (_, document, faults) = run("[server]\nname = 'x'\nalias = 'y'\n");
    insta::assert_snapshot!(render(&document, &faults, false));
}

#[test]
fn syntax_faults_propose_what_to_write() {
    let (document, faults) = Document::parse(
        "toy.toml",
        "rewrite = \"matches('^([^.]+)\\.(.+)$', rcpt)\"\naddress = relay.example.org\nb = 1\nb = 2\n",
    );
    insta::assert_snapshot!(render(&document, &faults, false));
}

#[test]
fn the_reference_comes_from_the_same_definitions() {
    let document = Document::empty();
    let (_, findings) = Reader::describe(&document).read(read);
    assert_eq!(findings.faults, []);
    insta::assert_snapshot!(reference::render(&findings.records));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([\\[\\]{}=\"'.,\\\\a-z0-9 \n#%]|server|name|listener|limit|bind|count|%\\{cfg:a\\}%|\\PC){0,80}") {
        struct Nothing;
        impl Environment for Nothing {
            fn variable(&self, _: &str) -> Option<String> { Some("v".to_owned()) }
            fn file(&self, _: &str) -> Result<String, String> { Err("none".to_owned()) }
        }
        let (mut document, mut faults) = Document::parse("t", &text);
        faults.extend(expand(&mut document, &Nothing));
        let (_, findings) = Reader::new(&document).read(read);
        faults.extend(findings.faults);
        let _ = (render(&document, &faults, true), to_json(&document, &faults));
    }
}
