//! The same filter behind Debian's Postfix and behind the machine: callbacks, symbols, replies and messages compared.

use posthaste::milter::{Event, Facts, Verdict};

use crate::actions::{everything, facts, with_every_change};
use crate::driver::{Delivered, Mail, Outcome, Session, transaction};
use crate::peers::{Callback, Filter, eventually, has_program, has_pymilter, is_root};
use crate::postfix::{Client, Postfix, sink};

/// Changes at the end of a message, each list one mail. A reply without an enhanced status, to which we add one, is not
/// compared. Two things are left out, in which we do as sendmail does: Postfix
/// refuses a body that comes in pieces with other changes between them, and deletes no recipient whose domain is
/// spelled in another case.
const CHANGES: &[&str] = &[
    r#"[["addheader","X-A","one"],["addheader","X-A","two"]]"#,
    r#"[["addheader","X-A","one\n\ttwo\n three"]]"#,
    r#"[["addheader","X-A"," spaced"],["addheader","X-B","\ttabbed"],["addheader","X-C",""]]"#,
    r#"[["addheader","X-A","at 1",1]]"#,
    r#"[["addheader","X-A","at 2",2],["addheader","X-B","at 2",2],["addheader","X-C","at 4",4]]"#,
    r#"[["addheader","X-A","at 5",5],["addheader","X-B","at 99",99],["addheader","X-C","at the end"]]"#,
    r#"[["chgheader","Subject",0,"zero"]]"#,
    r#"[["chgheader","Subject",1,"one"]]"#,
    r#"[["chgheader","subject",2,"two"],["chgheader","SUBJECT",1,"three"]]"#,
    r#"[["chgheader","Subject",3,"none"],["chgheader","X-None",1,"new"]]"#,
    r#"[["chgheader","Subject",1,""],["chgheader","Subject",1,""]]"#,
    r#"[["chgheader","Subject",2,""],["chgheader","Subject",1,""]]"#,
    r#"[["chgheader","Subject",9,""],["chgheader","X-None",1,""]]"#,
    r#"[["chgheader","Subject",1,"folded\n\there"],["chgheader","Subject",2," spaced"]]"#,
    r#"[["addheader","Subject","on top",1],["chgheader","Subject",1,"which"]]"#,
    r#"[["addheader","X-A","first"],["chgheader","X-A",1,"second"],["chgheader","X-A",1,""]]"#,
    r#"[["addrcpt","<d@two.test>"],["addrcpt","e@two.test"]]"#,
    r#"[["addrcpt","<d@two.test>","NOTIFY=NEVER"],["addrcpt","<e@two.test>","ORCPT=rfc822;x@y.test"]]"#,
    r#"[["delrcpt","<b@two.test>"]]"#,
    r#"[["delrcpt","b@two.test"],["delrcpt","<nobody@two.test>"]]"#,
    r#"[["addrcpt","<d@two.test>"],["delrcpt","<d@two.test>"],["delrcpt","<c@two.test>"]]"#,
    r#"[["chgfrom","<new@one.test>"]]"#,
    r#"[["chgfrom","new@one.test","RET=HDRS ENVID=abc"]]"#,
    r#"[["chgfrom","<>"]]"#,
    r#"[["replacebody","one line\r\n"]]"#,
    r#"[["replacebody","no end"]]"#,
    r#"[["replacebody","bare\nline\r\nends\n"],["replacebody","\nmore\n"]]"#,
    r#"[["replacebody","in "],["replacebody","two\r\n"],["replacebody","more\r\n"],["addheader","X-A","behind"]]"#,
    r#"[["replacebody",".dot\r\n..dots\r\n"]]"#,
    r#"[["progress"],["addheader","X-A","b"],["progress"]]"#,
];

/// Every mail with what makes it known again. A filter that does not answer gives no orders before the end.
fn cases(is_quiet: bool) -> Vec<Mail> {
    let mut mails = vec![
        Mail { size: Some(400), ..Mail::new("Subject: plain", "body\n") },
        Mail {
            from: "",
            ..Mail::new("Subject: two\n lines\n\tfolded\nX-Tab:\tx\nX-None:y\nX-Empty:", "\n.dot\n\nlast\n")
        },
        Mail::new("X-Large: yes", &"0123456789abcdef\n".repeat(9000)),
        with_every_change(),
        Mail::new(r#"X-Do: [["quarantine","looks bad"]]"#, "held\n"),
    ];
    mails.extend(
        CHANGES
            .iter()
            .map(|list| Mail::new(&format!("Subject: one\nSubject: two\n folded\nX-Do: {list}"), "body\n.dot\n")),
    );
    for verb in ["accept", "reject", "tempfail", "discard", "reply", "lines"] {
        mails.push(Mail::new(&format!("X-Verdict: {verb}\nX-Do: [[\"addheader\",\"X-A\",\"b\"]]"), "body\n"));
        for stage in ["mail", "data", "header", "eoh", "body"] {
            let from = format!("do.{stage}.{verb}@one.test").leak();
            mails.push(Mail { from, ..Mail::new("Subject: x", "body\n") });
        }
        let to: &'static str = format!("do.rcpt.{verb}@two.test").leak();
        mails.push(Mail { to: vec!["b@two.test", to, "c@two.test"], ..Mail::new("Subject: x", "body\n") });
    }
    mails.push(Mail { from: "do.body.skip@one.test", ..Mail::new("X-Large: yes", &"0123456789abcdef\n".repeat(9000)) });
    mails.retain(|mail| !is_quiet || !mail.from.starts_with("do.") && !mail.to.iter().any(|to| to.starts_with("do.")));
    for (number, mail) in mails.iter_mut().enumerate() {
        mail.content = mail.content.replacen("\r\nTo:", &format!("\r\nX-Case: {number}\r\nTo:"), 1);
    }
    mails
}

/// What the filter was told: from each MAIL to the next one, aborts left out.
fn by_transaction(callbacks: &[Callback]) -> Vec<Vec<Callback>> {
    let mut all: Vec<Vec<Callback>> = vec![Vec::new()];
    for callback in callbacks.iter().filter(|callback| !matches!(&*callback.event, "abort" | "negotiate")) {
        if callback.event == "mail" {
            all.push(Vec::new());
        }
        all.last_mut().expect("one at least").push(callback.clone());
    }
    all
}

/// A message without the first Received field, which is Postfix's own.
fn without_received(mut delivered: Delivered) -> Delivered {
    let content = delivered.content;
    let start = if content.starts_with("Received:") { 0 } else { content.find("\r\nReceived:").map_or(0, |at| at + 2) };
    let mut end = start;
    for line in content[start..].split_inclusive('\n') {
        if end > start && !line.starts_with([' ', '\t']) {
            break;
        }
        end += line.len();
    }
    delivered.content = format!("{}{}", &content[..start], &content[end..]);
    delivered
}

/// Symbols whose value is a matter of each program: that they are there is compared.
const OWN: &[&str] = &["i", "v", "{mail_host}", "{mail_mailer}", "{rcpt_host}", "{rcpt_mailer}"];

/// What Postfix's filter was told and ours was not, or otherwise.
fn compare_told(theirs: &[Callback], ours: &[Callback], differences: &mut Vec<String>) {
    let shown = |callbacks: &[Callback]| callbacks.iter().map(Callback::shown).collect::<Vec<_>>();
    if shown(theirs) != shown(ours) {
        let short =
            |told: Vec<String>| told.iter().map(|t| t.chars().take(100).collect::<String>()).collect::<Vec<_>>();
        differences.push(format!("told\n  by Postfix {:#?}\n  by us {:#?}", short(shown(theirs)), short(shown(ours))));
        return;
    }
    for (theirs, ours) in theirs.iter().zip(ours).filter(|(theirs, _)| theirs.event != "header") {
        for (name, value) in &theirs.symbols {
            let is_same = match ours.symbols.get(name) {
                Some(own) => own == value || OWN.contains(&&**name),
                None => false,
            };
            if !is_same {
                let own = ours.symbols.get(name);
                differences.push(format!("{name} at {}: Postfix {value}, we {own:?}", theirs.event));
            }
        }
    }
}

fn session(port: u16, facts: Facts<'_>) -> Session {
    let mut session = Session::new(&[(port, everything())]);
    session.run(Event::Connect, facts, None);
    session.run(Event::Helo, facts, None);
    session
}

fn compare(modes: &[&str]) {
    if !has_pymilter() || !has_program("postfix") || !is_root() {
        return;
    }
    let is_quiet = modes.contains(&"quiet");
    let mails = cases(is_quiet);
    let (sink_port, arrived) = sink();
    let behind_postfix = Filter::start(modes);
    let postfix = Postfix::start(behind_postfix.port, sink_port);
    let mut client = Client::connect(postfix.port);
    client.say("EHLO client.test");
    client.say("XYZZY");
    let theirs: Vec<_> = mails.iter().map(|mail| client.transaction(mail)).collect();
    client.say("QUIT");

    let behind_us = Filter::start(modes);
    let facts = Facts { hostname: "bench.invalid", daemon_name: "bench.invalid", ..facts() };
    let mut session = session(behind_us.port, facts);
    session.run(Event::Unknown(b"XYZZY"), facts, None);
    let ours: Vec<_> = mails.iter().map(|mail| transaction(&mut session, facts, mail)).collect();
    session.run(Event::Quit, facts, None);
    assert_eq!(session.chain().connection(0).and_then(|c| c.failure()), None);

    eventually("Postfix has delivered all but what is held", || postfix.queued().iter().all(|id| id.ends_with('!')));
    let arrived = arrived.lock().expect("unpoisoned").clone();
    let (told_theirs, told_ours) =
        (by_transaction(&behind_postfix.callbacks()), by_transaction(&behind_us.callbacks()));
    let mut differences = Vec::new();
    if told_theirs.len() != told_ours.len() {
        differences.push(format!("{} transactions by Postfix, {} by us", told_theirs.len(), told_ours.len()));
    }
    let connect = told_theirs[0].iter().rposition(|callback| callback.event == "connect").expect("a client came");
    compare_told(&told_theirs[0][connect..], &told_ours[0], &mut differences); // before it came a look at the port
    for (number, mail) in mails.iter().enumerate() {
        let mut found = Vec::new();
        let of = |told: &[Vec<Callback>]| told.get(number + 1).cloned().unwrap_or_default();
        compare_told(&of(&told_theirs), &of(&told_ours), &mut found);
        compare_outcome(number, &theirs[number], &ours[number], &arrived, &mut found);
        let what = mail.content.lines().find(|line| line.starts_with("X-Do") || line.starts_with("X-Verdict"));
        let name = format!("case {number} from <{}> to {:?} {}", mail.from, mail.to, what.unwrap_or_default());
        differences.extend(found.iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(
        differences.is_empty(),
        "{}\n{}",
        differences.join("\n"),
        postfix.log().lines().filter(|line| line.contains("warning")).collect::<Vec<_>>().join("\n")
    );
}

fn compare_outcome(
    number: usize,
    theirs: &Outcome,
    ours: &Outcome,
    arrived: &[(String, Delivered)],
    differences: &mut Vec<String>,
) {
    if theirs.refused != ours.refused {
        differences.push(format!("refused: Postfix {:?}, we {:?}", theirs.refused, ours.refused));
    }
    let theirs: Vec<_> =
        arrived.iter().filter(|(case, _)| *case == number.to_string()).map(|(_, d)| d.clone()).collect();
    let ours = ours.delivered.clone().filter(|_| ours.quarantine.is_none());
    match (theirs.as_slice(), ours) {
        ([], None) => {}
        ([theirs], Some(mut ours)) => {
            let mut theirs = without_received(theirs.clone());
            theirs.to.sort();
            ours.to.sort();
            if !ours.content.ends_with("\r\n") {
                ours.content.push_str("\r\n"); // DATA ends every message with a line end
            }
            if theirs != ours {
                differences.push(format!("delivered\n  by Postfix {theirs:#?}\n  by us {ours:#?}"));
            }
        }
        (theirs, ours) => differences.push(format!("delivered {} times by Postfix, by us {ours:?}", theirs.len())),
    }
}

#[test]
fn postfix_and_we_are_the_same_to_a_filter() {
    compare(&[]);
}

#[test]
fn postfix_and_we_are_the_same_to_a_filter_with_spaces_that_does_not_answer() {
    compare(&["quiet", "leadspc"]);
}

#[test]
fn a_refused_client_is_refused_by_both() {
    if !has_pymilter() || !has_program("postfix") || !is_root() {
        return;
    }
    let (sink_port, _) = sink();
    let filter = Filter::start(&[]);
    let postfix = Postfix::start(filter.port, sink_port);
    for verb in ["reject", "tempfail", "reply", "lines", "accept"] {
        let name: &'static str = format!("do.helo.{verb}").leak();
        let facts = Facts { helo: Some(name), ..facts() };
        let mail = Mail::new("Subject: x", "body\n");
        let mut client = Client::connect(postfix.port);
        client.say(&format!("HELO {name}"));
        let theirs = client.say("MAIL FROM:<a@one.test>");
        let mut session = session(filter.port, facts);
        let ours = match session.run(Event::Mail, facts, Some(&mail.envelope())).0 {
            Verdict::Refuse(reply) | Verdict::Close(reply) => reply.to_string(),
            verdict => format!("{verdict:?}"),
        };
        if verb == "accept" {
            assert_eq!((&theirs[..3], &*ours), ("250", "Pass"));
        } else {
            assert_eq!(theirs, ours, "{verb}");
        }
    }
}
