use super::*;

fn code(line: &str) -> String {
    match Command::parse(line.as_bytes()) {
        Ok(_) => "ok".into(),
        Err(e) => {
            let reply = e.reply();
            format!("{} {}", reply.code, reply.status.map(|s| s.to_string()).unwrap_or_default())
        }
    }
}

#[test]
fn verbs_in_any_case() {
    for (line, verb) in [("EHLO a.b", Verb::Ehlo), ("mail from:<>", Verb::Mail), ("StartTLS", Verb::StartTls)] {
        assert_eq!(Command::parse(line.as_bytes()).map(|c| c.verb()), Ok(verb), "{line}");
        assert_eq!(Verb::of(line.as_bytes()), Some(verb));
    }
}

#[test]
fn extension_vectors() {
    assert_eq!(code("MAIL FROM:<a@b.test> FOO=1"), "555 5.5.4");
}
