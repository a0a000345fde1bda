//! A driver of the machine with blocking sockets and nothing but the standard library: what a real one does, plainly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use posthaste::mail::{
    Edit, Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};
use posthaste::milter::{Chain, Changes, Event, Facts, Failure, PathFacts, Settings, Task, Verdict};

/// A session with the sockets to its filters.
pub struct Session {
    chain: Chain,
    addresses: Vec<SocketAddr>,
    streams: Vec<Option<TcpStream>>,
}

impl Session {
    /// A session with these filters, by their ports on this host.
    pub fn new(filters: &[(u16, Settings)]) -> Session {
        Session {
            chain: Chain::new(filters.iter().map(|(_, settings)| *settings)),
            addresses: filters.iter().map(|(port, _)| ([127, 0, 0, 1], *port).into()).collect(),
            streams: filters.iter().map(|_| None).collect(),
        }
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Runs one event to its end.
    pub fn run(&mut self, event: Event<'_>, facts: Facts<'_>, envelope: Option<&Envelope>) -> (Verdict, Changes) {
        let mut run = self.chain.run(event, facts, envelope);
        let (mut out, mut octets) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            out.clear();
            let outcome = match run.next(&mut out) {
                Task::Done(verdict) => return (verdict, run.into_changes()),
                Task::Open { milter, within } => match TcpStream::connect_timeout(&self.addresses[milter], within) {
                    Err(_) => Err(Failure::Unreachable),
                    Ok(stream) => {
                        self.streams[milter] = Some(stream);
                        run.opened();
                        Ok(())
                    }
                },
                Task::Write { milter, within } => write(&mut self.streams[milter], &out, Some(within)),
                Task::Read { milter, within } => write(&mut self.streams[milter], &out, within).and_then(|()| {
                    let stream = self.streams[milter].as_mut().ok_or(Failure::Closed)?;
                    if within.is_some() {
                        stream.set_read_timeout(within).map_err(|_| Failure::Closed)?;
                    }
                    match stream.read(&mut octets) {
                        Ok(0) => Err(Failure::Closed),
                        Ok(length) => {
                            run.input(&octets[..length]);
                            Ok(())
                        }
                        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(Failure::TimedOut),
                        Err(_) => Err(Failure::Closed),
                    }
                }),
            };
            if let Err(failure) = outcome {
                run.failed(failure);
            }
        }
    }
}

fn write(stream: &mut Option<TcpStream>, octets: &[u8], within: Option<Duration>) -> Result<(), Failure> {
    let stream = stream.as_mut().ok_or(Failure::Closed)?;
    if within.is_some() {
        stream.set_write_timeout(within).map_err(|_| Failure::Closed)?;
    }
    stream.write_all(octets).map_err(|_| Failure::Closed)
}

/// A mail as a client would send it.
#[derive(Clone)]
pub struct Mail {
    pub from: &'static str,
    pub size: Option<u64>,
    pub to: Vec<&'static str>,
    pub content: String,
    /// DATA is an event of its own.
    pub says_data: bool,
}

impl Mail {
    pub fn new(fields: &str, body: &str) -> Mail {
        let content = format!(
            "From: a@one.test\nTo: b@two.test\nDate: Mon, 23 Nov 2026 00:00:00 +0000\nMessage-Id: <1@one.test>\n{fields}\n\n{body}"
        );
        Mail {
            says_data: true,
            from: "a@one.test",
            size: None,
            to: vec!["b@two.test", "c@two.test"],
            content: content.replace("\r\n", "\n").replace('\n', "\r\n"),
        }
    }

    pub fn envelope(&self) -> Envelope {
        let mailbox = |text: &str| Mailbox::parse(text, false).expect("an address");
        Envelope {
            reverse_path: match self.from {
                "" => ReversePath::Null,
                from => ReversePath::Mailbox(mailbox(from)),
            },
            mail: MailParameters { size: self.size, ..MailParameters::default() },
            recipients: self.to.iter().map(|to| Recipient::new(ForwardPath(mailbox(to)))).collect(),
        }
    }
}

/// What became of a mail: the replies that a client would get, as code and text, and what is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// A reply for each command that was refused, by the command's name.
    pub refused: Vec<(String, String)>,
    pub delivered: Option<Delivered>,
    pub is_discarded: bool,
    pub quarantine: Option<String>,
}

/// A message as it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub from: String,
    pub to: Vec<String>,
    pub content: String,
}

/// Gives a mail to the filters of a session that has said HELO, as an SMTP server would.
pub fn transaction(session: &mut Session, facts: Facts<'_>, mail: &Mail) -> Outcome {
    let mut outcome = Outcome::default();
    let whole = mail.envelope();
    let mut envelope = Envelope { recipients: Vec::new(), ..whole.clone() };
    let mut refuse = |command: &str, verdict: Verdict| match verdict {
        Verdict::Refuse(reply) | Verdict::Close(reply) => {
            outcome.refused.push((command.to_owned(), reply.to_string()));
            true
        }
        _ => false,
    };
    let end = |session: &mut Session, outcome: Outcome| {
        session.run(Event::Abort, facts, None);
        outcome
    };
    if refuse("mail", session.run(Event::Mail, facts, Some(&envelope)).0) {
        return end(session, outcome);
    }
    for recipient in &whole.recipients {
        let event = Event::Rcpt { recipient, refused: None };
        let rcpt = PathFacts { address: recipient.path.as_str(), host: "two.test", mailer: "smtp" };
        let facts = Facts { rcpt, ..facts };
        if !refuse("rcpt", session.run(event, facts, Some(&envelope)).0) {
            envelope.recipients.push(recipient.clone());
        }
    }
    if envelope.recipients.is_empty() {
        return end(session, outcome);
    }
    if mail.says_data && refuse("data", session.run(Event::Data, facts, Some(&envelope)).0) {
        return end(session, outcome);
    }
    let content = Bytes::from(mail.content.clone());
    let (header, at) = HeaderSection::split(&content);
    let middle = at + (content.len() - at) / 2;
    let body = [content.slice(at..middle), content.slice(middle..)];
    let view = MessageView { trace: b"Received: by us\r\n", header: &header, body: &body, has_separator: true };
    let (verdict, changes) = session.run(Event::Message(view), facts, Some(&envelope));
    outcome.is_discarded = verdict == Verdict::Discard;
    match verdict {
        Verdict::Pass => {
            outcome.quarantine = changes.quarantine.clone();
            outcome.delivered = Some(apply(&changes, &header, &body, envelope));
        }
        Verdict::Refuse(reply) | Verdict::Close(reply) => outcome.refused.push(("content".into(), reply.to_string())),
        Verdict::Discard => {}
    }
    outcome
}

/// The message with the changes, as it would leave.
fn apply(changes: &Changes, header: &HeaderSection, body: &[Bytes], mut envelope: Envelope) -> Delivered {
    let header = header.apply(&changes.edits);
    let replaced = changes.edits.iter().find_map(|edit| match edit {
        Edit::ReplaceBody(pieces) => Some(pieces.as_slice()),
        _ => None,
    });
    let body = replaced.unwrap_or(body);
    let view = MessageView { trace: b"", header: &header, body, has_separator: true };
    changes.edits.iter().for_each(|edit| edit.apply_to_envelope(&mut envelope));
    Delivered {
        from: envelope.reverse_path.as_str().to_owned(),
        to: envelope.recipients.iter().map(|recipient| recipient.path.as_str().to_owned()).collect(),
        content: view.pieces().map(|piece| String::from_utf8_lossy(piece)).collect(),
    }
}
