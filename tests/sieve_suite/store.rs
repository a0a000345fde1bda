//! Messages, mailboxes and sent mail.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthaste::base::WallTime;
use posthaste::mail::{
    Edit, Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, OriginalRecipient, Recipient,
    ReversePath,
};
use posthaste::sieve::outgoing::{self, Letter, Origin};
use posthaste::sieve::{Action, Actions};

/// A message and its envelope, for the rest of the process: the machine borrows them.
#[derive(Clone)]
pub struct Message {
    pub header: HeaderSection,
    pub body: Vec<Bytes>,
    pub has_separator: bool,
    pub from: String,
    pub to: String,
    pub orig_to: Option<String>,
}

impl Message {
    pub fn new(content: &[u8], from: &str, to: &str) -> Message {
        let content = Bytes::copy_from_slice(content);
        let (header, at) = HeaderSection::split(&content);
        let has_separator = at > header.raw().len();
        let body = vec![content.slice(at..)];
        Message { header, body, has_separator, from: from.into(), to: to.into(), orig_to: None }
    }

    /// A message whose envelope is what its From and To say, as the suite has it until it sets one.
    pub fn from_its_fields(content: &[u8]) -> Message {
        let message = Message::new(content, "sender@example.com", "user@example.com");
        let first = |name: &str| {
            let field = message.header.named(name).next()?;
            let value = String::from_utf8_lossy(field.value).into_owned();
            let found = value.split([' ', ',', '<', '>', '\r', '\n', '"']).find(|word| word.contains('@'))?;
            Mailbox::parse(found, false).ok().map(|mailbox| mailbox.as_str().to_owned())
        };
        let (from, to) = (first("from"), first("to"));
        let (from, to) = (from.unwrap_or(message.from.clone()), to.unwrap_or(message.to.clone()));
        Message { from, to, ..message }
    }

    pub fn leak(&self) -> (&'static MessageView<'static>, &'static Envelope) {
        let message: &'static Message = Box::leak(Box::new(self.clone()));
        let view = MessageView {
            trace: b"",
            header: &message.header,
            body: &message.body,
            has_separator: message.has_separator,
        };
        let bare = |address: &str| address.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
        let path = |address: &str| format!("<{}>", bare(address));
        let reverse_path = ReversePath::parse(&path(&self.from), true)
            .unwrap_or_else(|_| ReversePath::Mailbox(Mailbox::from_stored(&bare(&self.from))));
        let forward_path = ForwardPath::parse(&path(&self.to), true)
            .unwrap_or_else(|_| ForwardPath(Mailbox::from_stored(&bare(&self.to))));
        let mut recipient = Recipient::new(forward_path);
        recipient.original = self
            .orig_to
            .as_ref()
            .map(|address| OriginalRecipient { kind: "rfc822".into(), address: bare(address).into() });
        let envelope = Envelope { reverse_path, mail: MailParameters::default(), recipients: vec![recipient] };
        (Box::leak(Box::new(view)), Box::leak(Box::new(envelope)))
    }
}

/// What came of the actions.
#[derive(Default)]
pub struct Store {
    pub mailboxes: BTreeMap<String, Vec<(Message, Vec<String>)>>,
    pub sent: Vec<Message>,
}

impl Store {
    /// Does the actions in their order; what failed otherwise.
    pub fn execute(&mut self, actions: &Actions, message: &Message) -> Result<(), String> {
        let mut message = message.clone();
        let mut failure = Ok(());
        for action in &actions.list {
            match action {
                Action::Edit(edit) => apply(&mut message, edit),
                Action::Keep(keep) => {
                    let flags = stored_flags(&keep.flags);
                    self.mailboxes.entry("INBOX".into()).or_default().push((message.clone(), flags));
                }
                Action::FileInto(into) => {
                    let mailbox = mailbox_name(&into.mailbox);
                    if into.mailbox.contains(['\u{0}', '\n'])
                        || into.mailbox.starts_with('/')
                        || into.mailbox.contains("//")
                    {
                        failure = Err(format!("failed to store into mailbox '{}': invalid name", into.mailbox));
                        continue;
                    }
                    let is_known = self.mailboxes.contains_key(&mailbox) || mailbox == "INBOX";
                    if !is_known && !into.is_create {
                        failure =
                            Err(format!("failed to store into mailbox '{}': mailbox doesn't exist", into.mailbox));
                        continue;
                    }
                    let flags = stored_flags(&into.flags);
                    self.mailboxes.entry(mailbox).or_default().push((message.clone(), flags));
                }
                Action::Redirect(redirect) => {
                    let mut copy = message.clone();
                    let redirected = Edit::InsertField {
                        index: 0,
                        name: "X-Sieve-Redirected-From".into(),
                        value: message.to.clone(),
                    };
                    apply(&mut copy, &redirected);
                    copy.to = redirect.to.as_str().to_owned();
                    self.sent.push(copy);
                }
                Action::Vacation(vacation) => {
                    let answer = with_origin(&message, |origin| outgoing::vacation(vacation, origin));
                    self.sent.extend(answer.into_iter().flat_map(sent));
                }
                Action::Notify(notification) => {
                    let notice = with_origin(&message, |origin| outgoing::notification(notification, origin));
                    self.sent.extend(notice.into_iter().flat_map(sent));
                }
                _ => {}
            }
        }
        failure
    }
}

/// What the engine needs to write a letter for a message.
fn with_origin<T>(message: &Message, write: impl FnOnce(&Origin<'_>) -> T) -> T {
    let (view, envelope) = message.leak();
    let postmaster = Mailbox::parse("postmaster@example.com", false).unwrap();
    write(&Origin {
        header: view.header,
        envelope,
        owner: envelope.recipients[0].path.mailbox(),
        postmaster: &postmaster,
        hostname: "host.example.com",
        id: "1",
        now: WallTime(1_795_400_000_000),
    })
}

/// A letter as that server sends it: one message for each recipient.
fn sent(letter: Letter) -> Vec<Message> {
    let from = letter.envelope.reverse_path.as_str();
    let each = letter.envelope.recipients.iter().map(|to| Message::new(&letter.content, from, to.path.as_str()));
    each.collect()
}

/// INBOX and what is below it, in any case.
pub fn mailbox_name(name: &str) -> String {
    match name.split_at_checked(5) {
        Some((inbox, rest)) if inbox.eq_ignore_ascii_case("inbox") => format!("INBOX{rest}"),
        _ => name.to_owned(),
    }
}

/// The suite's server adds a keyword of its own.
fn stored_flags(flags: &[impl ToString]) -> Vec<String> {
    flags.iter().map(ToString::to_string).chain(["$HasNoAttachment".to_owned()]).collect()
}

fn apply(message: &mut Message, edit: &Edit) {
    match edit {
        Edit::ReplaceBody(body) => message.body = body.clone(),
        edit => message.header = message.header.apply([edit]),
    }
}
