//! What a filter does to a message at its end, as edits.
//!
//! Positions and occurrences count as sendmail and Postfix count them:
//! * a field that is changed or deleted is the n-th of its name among the fields that the filter saw, as earlier changes
//!   left them; zero means the first; a change of one that is not there adds it at the end, an empty value deletes;
//! * a field that is inserted at `n` goes before the field that is then at `n`, where our own Received field is at
//!   zero: 1 is the first place below it. What is inserted at zero would go above our trace fields, which no edit
//!   reaches: it goes below them, above all others;
//! * a recipient to be deleted is looked for with the domain in any case, and its local-part too if nobody has it as it is
//!   spelled; one that nobody has is not a fault;
//! * the pieces of a new body are joined, and an LF without CR in them becomes CRLF.

use bytes::Bytes;
use compact_str::CompactString;

use super::arguments::{self, ArgumentFault};
use super::codec::{Response, shown};
use crate::base::limits::{HEADER_SECTION_BYTES_MAX, MILTER_EDITS_MAX};
use crate::mail::{Edit, Edits, Envelope, ForwardPath, Recipient};

/// What filters changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// In the order in which they are to be applied.
    pub edits: Edits,
    /// The message is to be kept back, for this reason.
    pub quarantine: Option<String>,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeFault {
    /// A field without a name, or with a name that is none.
    #[error("not a field name: {0}")]
    Name(String),
    /// An address or a parameter of one.
    #[error(transparent)]
    Argument(#[from] ArgumentFault),
    /// More changes, or more octets in them, than a message may have.
    #[error("more changes than a message may have")]
    TooMany,
}

/// Gathers the changes of one filter to one message.
#[derive(Debug, Default)]
pub(super) struct Collector {
    changes: Changes,
    body: Option<Vec<Bytes>>,
    small_pieces: Vec<u8>,
    body_ends_with_cr: bool,
    header_bytes: usize,
    /// Fields that were inserted above our own Received.
    above: usize,
}

impl Collector {
    /// Adds a change; a response that is none does nothing. `has_leading_space`: values come with the space that
    /// follows the colon.
    pub(super) fn add(&mut self, response: Response, has_leading_space: bool) -> Result<(), ChangeFault> {
        if self.changes.edits.len() >= MILTER_EDITS_MAX {
            return Err(ChangeFault::TooMany);
        }
        match response {
            Response::AddHeader { name, value } => {
                let (name, value) = self.field(&name, &value, has_leading_space)?;
                self.changes.edits.push(Edit::AppendField { name, value });
            }
            Response::InsertHeader { index, name, value } => {
                let (name, value) = self.field(&name, &value, has_leading_space)?;
                let index = self.position(index as usize);
                self.changes.edits.push(Edit::InsertField { index, name, value });
            }
            Response::ChangeHeader { index, name, value } => {
                let is_deletion = value.is_empty();
                let (name, value) = self.field(&name, &value, has_leading_space)?;
                let occurrence = index.max(1) as usize;
                self.changes.edits.push(match is_deletion {
                    true => Edit::DeleteField { name, occurrence },
                    false => Edit::ChangeField { name, occurrence, value },
                });
            }
            Response::ReplaceBody(piece) => self.replace_body(piece),
            Response::ChangeFrom { path, parameters } => {
                let path = arguments::reverse_path(&path)?;
                self.changes.edits.push(Edit::ChangeReversePath(path));
                let given = arguments::return_parameters(&parameters.unwrap_or_default())?;
                if given.ret.is_some() || given.envid.is_some() {
                    self.changes.edits.push(Edit::ChangeReturn { ret: given.ret, envid: given.envid });
                }
            }
            Response::AddRecipient { path, parameters } => {
                let mut recipient = Recipient::new(arguments::forward_path(&path)?);
                arguments::rcpt_parameters(&parameters.unwrap_or_default(), &mut recipient)?;
                self.changes.edits.push(Edit::AddRecipient(recipient));
            }
            Response::DeleteRecipient(path) => {
                self.changes.edits.push(Edit::DeleteRecipient(arguments::forward_path(&path)?));
            }
            Response::Quarantine(reason) => {
                let reason = String::from_utf8_lossy(&reason).replace(char::is_control, "?");
                self.changes.quarantine = Some(reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// All of them; the body in one edit.
    pub(super) fn finish(mut self) -> Changes {
        self.join_small_pieces();
        if let Some(pieces) = self.body {
            self.changes.edits.push(Edit::ReplaceBody(pieces));
        }
        self.changes
    }

    /// Where a field goes among those that edits count, when `index` counts our own Received field too.
    fn position(&mut self, index: usize) -> usize {
        if index <= self.above {
            self.above += 1;
            index
        } else {
            index - 1
        }
    }

    /// A field's name and its value as edits take it: without a space after the colon, one is put there.
    fn field(
        &mut self,
        name: &[u8],
        value: &[u8],
        has_leading_space: bool,
    ) -> Result<(CompactString, String), ChangeFault> {
        let is_name = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b) && *b != b':');
        let Some(name) = std::str::from_utf8(name).ok().filter(|_| is_name) else {
            return Err(ChangeFault::Name(shown(name)));
        };
        self.header_bytes = self.header_bytes.saturating_add(name.len() + value.len() + 4);
        if self.header_bytes > HEADER_SECTION_BYTES_MAX {
            return Err(ChangeFault::TooMany);
        }
        let text = String::from_utf8_lossy(value);
        let needs_space = !has_leading_space && text.starts_with([' ', '\t']);
        Ok((name.into(), if needs_space { format!(" {text}") } else { text.into_owned() }))
    }

    /// Keeps a piece as it lies; many small ones, as of a filter that writes line by line, become one.
    fn replace_body(&mut self, piece: Bytes) {
        let piece = with_line_ends(piece, self.body_ends_with_cr);
        self.body_ends_with_cr = piece.last().map_or(self.body_ends_with_cr, |last| *last == b'\r');
        if piece.len() < SMALL_PIECE_BYTES {
            self.small_pieces.extend_from_slice(&piece);
        }
        if piece.len() >= SMALL_PIECE_BYTES || self.small_pieces.len() >= SMALL_PIECE_BYTES * 4 {
            self.join_small_pieces();
        }
        let pieces = self.body.get_or_insert_default();
        if piece.len() >= SMALL_PIECE_BYTES {
            pieces.push(piece);
        }
    }

    fn join_small_pieces(&mut self) {
        if !self.small_pieces.is_empty() {
            self.body.get_or_insert_default().push(std::mem::take(&mut self.small_pieces).into());
        }
    }
}

/// A piece of a body that is shorter is joined with its neighbours, in octets.
const SMALL_PIECE_BYTES: usize = 16 * 1024;

/// A piece of a body with CRLF for every LF, which filters forget and sendmail and Postfix forgive. One that has them is
/// not copied.
fn with_line_ends(piece: Bytes, follows_cr: bool) -> Bytes {
    let is_bare = |at: usize| match at.checked_sub(1) {
        Some(before) => piece.get(before) != Some(&b'\r'),
        None => !follows_cr,
    };
    let bare = || memchr::memchr_iter(b'\n', &piece).filter(|at| is_bare(*at));
    let count = bare().count();
    if count == 0 {
        return piece;
    }
    let (mut whole, mut start) = (Vec::with_capacity(piece.len() + count), 0);
    for at in bare() {
        whole.extend_from_slice(piece.get(start..at).unwrap_or_default());
        whole.push(b'\r');
        start = at;
    }
    whole.extend_from_slice(piece.get(start..).unwrap_or_default());
    whole.into()
}

/// Applies the edits that concern it to an envelope. A recipient to be deleted becomes the one that is meant: filters
/// spell addresses as they like, edits compare them exactly. A deletion that means nobody goes; one that means several
/// spellings becomes as many.
pub fn apply_to_envelope(edits: &mut Edits, envelope: &mut Envelope) {
    if !edits.iter().any(Edit::is_envelope) {
        return;
    }
    let mut resolved = Vec::with_capacity(edits.len());
    for edit in edits.drain(..) {
        match edit {
            Edit::DeleteRecipient(path) => {
                for path in meant(&path, envelope) {
                    envelope.recipients.retain(|recipient| recipient.path != path);
                    resolved.push(Edit::DeleteRecipient(path));
                }
            }
            edit => {
                edit.apply_to_envelope(envelope);
                resolved.push(edit);
            }
        }
    }
    *edits = resolved;
}

/// The recipients that a filter means: the same local-part, or if nobody has it the same in another case, at the
/// same domain.
fn meant(path: &ForwardPath, envelope: &Envelope) -> Vec<ForwardPath> {
    let wanted = path.mailbox();
    let at_domain = |recipient: &&Recipient| recipient.path.mailbox().domain_key() == wanted.domain_key();
    let local = |recipient: &Recipient| recipient.path.mailbox().local_part_unquoted().into_owned();
    let known = wanted.local_part_unquoted();
    let candidates: Vec<&Recipient> = envelope.recipients.iter().filter(at_domain).collect();
    let mut found: Vec<ForwardPath> =
        candidates.iter().filter(|r| local(r) == known).map(|recipient| recipient.path.clone()).collect();
    if found.is_empty() {
        let same = |recipient: &&&Recipient| local(recipient).eq_ignore_ascii_case(&known);
        found = candidates.iter().filter(same).map(|recipient| recipient.path.clone()).collect();
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{HeaderSection, MailParameters, Ret, ReversePath};

    fn insert(index: u32, name: &'static str) -> Response {
        Response::InsertHeader { index, name: name.into(), value: "v".into() }
    }

    fn change(index: u32, name: &'static str, value: &'static str) -> Response {
        Response::ChangeHeader { index, name: name.into(), value: value.into() }
    }

    fn collected(responses: Vec<Response>, has_leading_space: bool) -> Result<Changes, ChangeFault> {
        let mut collector = Collector::default();
        for response in responses {
            collector.add(response, has_leading_space)?;
        }
        Ok(collector.finish())
    }

    fn after(responses: Vec<Response>, has_leading_space: bool) -> String {
        let section = HeaderSection::parse(Bytes::from_static(b"A: 1\r\nB: 2\r\na: 3\r\nB: 4\r\n"));
        let changes = collected(responses, has_leading_space).expect("sound");
        String::from_utf8(section.apply(&changes.edits).raw().to_vec()).expect("ASCII")
    }

    #[test]
    fn positions_count_our_received() {
        assert_eq!(after(vec![insert(1, "X")], false), "X: v\r\nA: 1\r\nB: 2\r\na: 3\r\nB: 4\r\n");
        assert_eq!(after(vec![insert(0, "X")], false), "X: v\r\nA: 1\r\nB: 2\r\na: 3\r\nB: 4\r\n");
        assert_eq!(after(vec![insert(2, "X")], false), "A: 1\r\nX: v\r\nB: 2\r\na: 3\r\nB: 4\r\n");
        assert_eq!(after(vec![insert(99, "X")], false), "A: 1\r\nB: 2\r\na: 3\r\nB: 4\r\nX: v\r\n");
        // X is above our Received, so that Y at 1 is between them and Z at 3 below the Received.
        let all = vec![insert(0, "X"), insert(1, "Y"), insert(3, "Z")];
        assert_eq!(after(all, false), "X: v\r\nY: v\r\nZ: v\r\nA: 1\r\nB: 2\r\na: 3\r\nB: 4\r\n");
    }

    #[test]
    fn occurrences_count_per_name_as_changes_leave_them() {
        assert_eq!(after(vec![change(2, "a", "x")], false), "A: 1\r\nB: 2\r\na: x\r\nB: 4\r\n");
        assert_eq!(after(vec![change(0, "B", "x")], false), "A: 1\r\nB: x\r\na: 3\r\nB: 4\r\n");
        assert_eq!(after(vec![change(3, "B", "x")], false), "A: 1\r\nB: 2\r\na: 3\r\nB: 4\r\nB: x\r\n");
        assert_eq!(after(vec![change(1, "B", ""), change(1, "B", "")], false), "A: 1\r\na: 3\r\n");
        assert_eq!(after(vec![change(7, "B", "")], false), "A: 1\r\nB: 2\r\na: 3\r\nB: 4\r\n");
    }

    #[test]
    fn values_keep_their_space() {
        let add = |value: &'static str| vec![Response::AddHeader { name: "X".into(), value: value.into() }];
        let tail = |text: String| text.rsplit_once("B: 4\r\n").expect("there").1.to_owned();
        assert_eq!(tail(after(add("v"), false)), "X: v\r\n");
        assert_eq!(tail(after(add(" v"), false)), "X:  v\r\n");
        assert_eq!(tail(after(add(" v"), true)), "X: v\r\n");
        assert_eq!(tail(after(add("\tv\n w"), true)), "X:\tv\r\n w\r\n");
        assert_eq!(tail(after(add("a\r\nEvil: b\r\n\r\nbody"), false)), "X: a\r\n\tEvil: b\r\n\tbody\r\n");
    }

    #[test]
    fn what_is_no_field_or_address_is_refused() {
        for name in ["", "a b", "a:", "ü", "a\r\nb"] {
            let fault = collected(vec![Response::AddHeader { name: name.into(), value: "v".into() }], false);
            assert!(matches!(fault, Err(ChangeFault::Name(_))), "{name:?}");
        }
        let fault = collected(vec![Response::AddRecipient { path: "nobody".into(), parameters: None }], false);
        assert!(matches!(fault, Err(ChangeFault::Argument(_))));
        let long = Bytes::from(vec![b'x'; HEADER_SECTION_BYTES_MAX]);
        let fault = collected(vec![Response::AddHeader { name: "X".into(), value: long }], false);
        assert_eq!(fault, Err(ChangeFault::TooMany));
        let many = (0..=MILTER_EDITS_MAX).map(|_| insert(1, "X")).collect();
        assert_eq!(collected(many, false), Err(ChangeFault::TooMany));
    }

    #[test]
    fn pieces_of_a_body_are_one_edit() {
        let pieces = vec![
            Response::ReplaceBody("a".into()),
            insert(1, "X"),
            Response::ReplaceBody("".into()),
            Response::ReplaceBody("b".into()),
        ];
        let changes = collected(pieces, false).expect("sound");
        assert_eq!(changes.edits.last(), Some(&Edit::ReplaceBody(vec!["ab".into()])));
        let pieces = ["one\n", "\ntwo\r", "\nthree\r\n\n\r", "x\n"].map(|piece| Response::ReplaceBody(piece.into()));
        let changes = collected(pieces.into(), false).expect("sound");
        let [Edit::ReplaceBody(pieces)] = &changes.edits[..] else { panic!("one edit") };
        assert_eq!(pieces.concat(), b"one\r\n\r\ntwo\r\nthree\r\n\r\n\rx\r\n", "every line end is CRLF");
        let changes = collected(vec![Response::ReplaceBody("".into())], false).expect("sound");
        assert_eq!(changes.edits, [Edit::ReplaceBody(Vec::new())]);
        let large = Bytes::from(vec![b'x'; SMALL_PIECE_BYTES]);
        let line = || Response::ReplaceBody("a line\r\n".into());
        let lines = (0..20_000).map(|_| line()).chain([Response::ReplaceBody(large.clone()), line()]);
        let changes = collected(lines.collect(), false).expect("sound");
        let [Edit::ReplaceBody(pieces)] = &changes.edits[..] else { panic!("one edit") };
        assert_eq!(pieces.concat().len(), 20_001 * 8 + large.len());
        assert!(pieces.len() < 10 && pieces.iter().any(|piece| piece.as_ptr() == large.as_ptr()));
    }

    #[test]
    fn envelopes_change_as_they_are_meant() {
        let path = |text: &str| arguments::forward_path(text.as_bytes()).expect("an address");
        let mut envelope = Envelope {
            reverse_path: ReversePath::Null,
            mail: MailParameters::default(),
            recipients: ["Jane@Two.test", "joe@two.test", "JOE@two.test"].map(|p| Recipient::new(path(p))).into(),
        };
        let mut changes = collected(
            vec![
                Response::DeleteRecipient("<jane@TWO.test>".into()),
                Response::DeleteRecipient("joe@two.test".into()),
                Response::DeleteRecipient("nobody@two.test".into()),
                Response::AddRecipient { path: "<new@two.test>".into(), parameters: Some("NOTIFY=NEVER".into()) },
                Response::ChangeFrom { path: "<me@one.test>".into(), parameters: Some("RET=HDRS ENVID=x".into()) },
                Response::Quarantine("a\nb".into()),
            ],
            false,
        )
        .expect("sound");
        assert_eq!(changes.quarantine.as_deref(), Some("a?b"));
        apply_to_envelope(&mut changes.edits, &mut envelope);
        let left: Vec<_> = envelope.recipients.iter().map(|recipient| recipient.path.as_str()).collect();
        assert_eq!(left, ["JOE@two.test", "new@two.test"]);
        assert_eq!((envelope.reverse_path.as_str(), envelope.mail.ret), ("me@one.test", Some(Ret::Headers)));
        assert_eq!(envelope.mail.envid.as_deref(), Some("x"));
        assert_eq!(changes.edits[0], Edit::DeleteRecipient(path("Jane@Two.test")));
        assert_eq!(changes.edits.len(), 5);
    }
}
