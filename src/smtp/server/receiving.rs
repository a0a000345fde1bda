//! Content on its way in: what has been gathered, what is still to come, and why it will be refused.
//!
//! Once there is a reason to refuse, octets are counted and thrown away: the client still has to be
//! read to the end, so that the next command is found (RFC 5321 §4.2.5, RFC 3030 §2).

use bytes::Bytes;

use crate::base::limits::INLINE_CONTENT_BYTES_MAX;
use crate::mail::{BodyType, ContentFacts, HeaderSection, Reply};
use crate::smtp::content::{BareLineEnds, ContentFault, ContentScanner};
use crate::smtp::server::intake::Intake;
use crate::smtp::server::words;

/// How the octets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By DATA, to CRLF "." CRLF.
    Text,
    /// By BDAT, so many.
    Chunk { size: u64, left: u64, is_last: bool },
}

/// What a look at the buffer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// All is used; more has to be read.
    More,
    /// These octets of the body go to bulk storage before more is read.
    Spill(Bytes),
    /// A chunk is complete and was not the last.
    ChunkDone(u64),
    /// The content is complete.
    Complete,
}

/// A message's content as it was received: unstuffed, with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// What the scan found.
    pub facts: ContentFacts,
    /// The header section without the empty line.
    pub header: Bytes,
    /// The body, or what of it has not been spilled.
    pub body: Bytes,
    /// Octets of the body that went to bulk storage before.
    pub spilled_bytes: u64,
}

/// The receiving of one message's content.
#[derive(Debug)]
pub struct Receiving {
    scanner: ContentScanner,
    form: Form,
    /// Octets of the largest message; zero for no bound.
    size_bytes_max: u64,
    is_binary: bool,
    has_begun: bool,
    refusal: Option<Refusal>,
    /// The header section, once the body has begun to spill.
    head: Option<Bytes>,
    spilled_bytes: u64,
    /// Content that is being normalized cannot stay in the buffer it came in.
    normalized: Option<Vec<u8>>,
    pub(super) gathered: Option<Gathered>,
}

/// Why content is refused when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reply: Reply,
    pub must_close: bool,
}

impl Receiving {
    /// Content that comes by DATA.
    pub(super) fn text(bare: BareLineEnds, size_bytes_max: u64) -> Receiving {
        Receiving {
            scanner: ContentScanner::new(bare),
            form: Form::Text,
            size_bytes_max,
            is_binary: false,
            has_begun: false,
            refusal: None,
            head: None,
            spilled_bytes: 0,
            normalized: (bare == BareLineEnds::Normalize).then(Vec::new),
            gathered: None,
        }
    }

    /// Content that comes by BDAT; octets of BODY=BINARYMIME are no lines, and nothing in them is bare.
    pub(super) fn chunks(bare: BareLineEnds, body: BodyType, size_bytes_max: u64) -> Receiving {
        let is_binary = body == BodyType::BinaryMime;
        let bare = if is_binary { BareLineEnds::Allow } else { bare };
        let form = Form::Chunk { size: 0, left: 0, is_last: false };
        Receiving { form, is_binary, ..Receiving::text(bare, size_bytes_max) }
    }

    /// Another chunk begins.
    pub(super) fn next_chunk(&mut self, octets: u64, is_last: bool) {
        self.form = Form::Chunk { size: octets, left: octets, is_last };
        let total = self.scanner.size_bytes().saturating_add(octets);
        if self.size_bytes_max > 0 && total > self.size_bytes_max {
            self.refuse(words::too_big(), false); // known before the first octet of it comes
        }
    }

    /// Octets of the content so far.
    pub fn size_bytes(&self) -> u64 {
        self.scanner.size_bytes()
    }

    /// The first look at the buffer has been taken: its content has begun.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true)
    }

    /// Something of the body is gathered and its header section is complete.
    pub(super) fn can_spill(&self, intake: &Intake) -> bool {
        let held = self.normalized.as_deref().unwrap_or(intake.content());
        let is_in_body = || held.starts_with(b"\r\n") || memchr::memmem::find(held, b"\r\n\r\n").is_some();
        !held.is_empty() && (self.head.is_some() || is_in_body())
    }

    /// Part of the body is in bulk storage.
    pub fn is_spilling(&self) -> bool {
        self.head.is_some()
    }

    /// It will be refused: nothing of it is kept any more.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// The reason, once the content is complete.
    pub(super) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Uses what the buffer holds.
    pub(super) fn take(&mut self, intake: &mut Intake) -> Progress {
        match self.form {
            Form::Text => self.take_text(intake),
            Form::Chunk { size, left, is_last } => self.take_chunk(intake, size, left, is_last),
        }
    }

    fn take_text(&mut self, intake: &mut Intake) -> Progress {
        if intake.unread().is_empty() {
            return Progress::More;
        }
        let is_end = match &mut self.normalized {
            None => {
                let scan = self.scanner.scan_in_place(intake.unread_mut());
                intake.gather(scan.kept, scan.consumed);
                scan.is_end
            }
            Some(normalized) => {
                let is_kept = self.refusal.is_none();
                let scan = self.scanner.scan(intake.unread(), |piece| {
                    if is_kept {
                        normalized.extend_from_slice(piece);
                    }
                });
                intake.consume(scan.consumed);
                scan.is_end
            }
        };
        self.judge(intake);
        if is_end { self.complete(intake) } else { self.spill(intake) }
    }

    fn take_chunk(&mut self, intake: &mut Intake, size: u64, left: u64, is_last: bool) -> Progress {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(intake.unread().len());
        if here > 0 {
            let unread = intake.unread().get(..here).unwrap_or_default();
            let is_kept = self.refusal.is_none();
            match &mut self.normalized {
                Some(normalized) => self.scanner.scan_chunk(unread, |piece| {
                    if is_kept {
                        normalized.extend_from_slice(piece);
                    }
                }),
                None => self.scanner.scan_chunk(unread, |_| {}),
            }
            if self.normalized.is_some() { intake.consume(here) } else { intake.gather(here, here) }
        }
        let left = left - here as u64;
        self.form = Form::Chunk { size, left, is_last };
        self.judge(intake);
        match (left, is_last) {
            (0, true) => self.complete(intake),
            (0, false) => Progress::ChunkDone(size),
            _ if here == 0 => Progress::More,
            _ => self.spill(intake),
        }
    }

    /// Looks for a reason to refuse. Without one, content is kept.
    fn judge(&mut self, intake: &mut Intake) {
        if self.refusal.is_none() {
            if let Some(fault) = self.scanner.fault() {
                self.refuse(fault.reply(), fault.must_close());
            } else if self.size_bytes_max > 0 && self.scanner.size_bytes() > self.size_bytes_max {
                self.refuse(words::too_big(), false);
            }
        } else if self.scanner.fault() == Some(ContentFault::BareLineEnd) {
            // A second reason that outweighs the first: where we see the end, its sender may not.
            self.refuse(ContentFault::BareLineEnd.reply(), true);
        }
        if self.refusal.is_some() {
            intake.drop_content();
        }
    }

    fn refuse(&mut self, reply: Reply, must_close: bool) {
        self.refusal = Some(Refusal { reply, must_close });
        if let Some(normalized) = &mut self.normalized {
            *normalized = Vec::new();
        }
    }

    /// Refuses what is coming, for a reason of our own (memory, disk).
    pub(super) fn abandon(&mut self, intake: &mut Intake, reply: Reply) {
        if self.refusal.is_none() {
            self.refuse(reply, false);
        }
        intake.drop_content();
    }

    /// Hands the body on when as much is gathered as may be.
    fn spill(&mut self, intake: &mut Intake) -> Progress {
        let held = self.normalized.as_ref().map_or(intake.content().len(), Vec::len);
        if held < INLINE_CONTENT_BYTES_MAX || self.refusal.is_some() { Progress::More } else { self.spill_now(intake) }
    }

    /// Hands on what is gathered, if its header section is complete.
    pub(super) fn spill_now(&mut self, intake: &mut Intake) -> Progress {
        let bytes = self.held(intake);
        intake.begin_content();
        let body = match self.head {
            Some(_) => bytes,
            None => {
                let (header, body_at) = HeaderSection::split(&bytes);
                if body_at == bytes.len() {
                    self.refuse(words::header_too_big(), false);
                    intake.drop_content();
                    return Progress::More;
                }
                // Copied, so that a field does not keep a quarter of a megabyte alive.
                self.head = Some(Bytes::copy_from_slice(header.raw()));
                bytes.slice(body_at..)
            }
        };
        if body.is_empty() {
            return Progress::More;
        }
        self.spilled_bytes += body.len() as u64;
        Progress::Spill(body)
    }

    /// The octets gathered, wherever they are.
    fn held(&mut self, intake: &mut Intake) -> Bytes {
        match &mut self.normalized {
            None => intake.take_content(),
            Some(normalized) => {
                intake.drop_content();
                Bytes::from(std::mem::take(normalized))
            }
        }
    }

    fn complete(&mut self, intake: &mut Intake) -> Progress {
        let normalized = &mut self.normalized;
        let facts = self.scanner.finish(|piece| {
            if let Some(normalized) = normalized {
                normalized.extend_from_slice(piece);
            }
        });
        if !self.is_binary {
            self.judge(intake); // a CR at the very end is bare only now
        }
        if self.refusal.is_none() {
            let content = self.held(intake);
            self.gathered = Some(self.gather(facts, content));
        }
        Progress::Complete
    }

    fn gather(&mut self, facts: ContentFacts, content: Bytes) -> Gathered {
        let spilled_bytes = self.spilled_bytes;
        if let Some(header) = self.head.take() {
            return Gathered { facts, header, body: content, spilled_bytes };
        }
        let header_bytes = (facts.header_bytes as usize).min(content.len());
        let separator = match content.get(header_bytes) {
            Some(b'\r') => 2,
            Some(_) => 1,
            None => 0,
        };
        let body_at = (header_bytes + separator).min(content.len());
        Gathered { facts, header: content.slice(..header_bytes), body: content.slice(body_at..), spilled_bytes }
    }
}
