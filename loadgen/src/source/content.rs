//! What is sent: made once, patched per message with its number and hash. Pure.
//!
//! A message is a head with our field on top, a cut of a long random body, and a last line that is
//! the message's own, so that contents that were mixed up do not match their hash. The hash of the head and of the body
//! up to every 1280th byte is known beforehand: a message costs the same whether it is small or large.

use crate::hash::ContentHash;
use crate::marker::{FIELD, Marker, VALUE_LENGTH, write_hex};
use crate::random::Random;

/// Bytes of a body line with its end (RFC 5322 §2.1.1 advises 78 without it).
const LINE: usize = 80;
/// Bytes between two known hashes.
const STRIDE: usize = 16 * LINE;
/// The last line but for its number.
const TAIL: &[u8; 27] = b" -- message nnnnnnnnnnnn --";
const TAIL_NUMBER: std::ops::Range<usize> = 12..24;

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BodyKind {
    /// Random base64 letters: what attachments look like, does not compress
    Base64,
    /// Random bytes of 8 bits: needs 8BITMIME
    Bytes,
    /// Words: compresses
    Text,
}

/// Everything that messages of a run have in common.
#[derive(Debug)]
pub struct Library {
    head: Vec<u8>,
    /// Where in the head the value of our field, and the number within Message-ID, are written.
    value_at: usize,
    id_at: usize,
    run: u64,
    variants: Vec<Variant>,
}

#[derive(Debug)]
struct Variant {
    /// The body behind a dot: with it as it goes over DATA, without as it is.
    stuffed: Vec<u8>,
    /// Hash of the head and of the first n strides of the body.
    hashes: Vec<ContentHash>,
}

/// One message, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// As it is; [`Letter::dotted`] for DATA.
    pub body: &'a [u8],
    /// With its first dot doubled.
    pub dotted: &'a [u8],
    /// The last line.
    pub tail: [u8; TAIL.len() + 2],
    /// What our field says.
    pub marker: Marker,
}

impl Letter<'_> {
    /// Bytes of the content, not dotted, behind a head of `head` bytes.
    pub fn size(&self, head: usize) -> usize {
        head + self.body.len() + self.tail.len()
    }
}

impl Library {
    /// Content for a run with bodies of up to `size_max` bytes.
    pub fn new(run: u64, kind: BodyKind, size_max: usize, sender: &str, date: &str, seed: u64) -> Self {
        let id = format!("Message-ID: <{run:016x}.");
        let encoding = if kind == BodyKind::Bytes { "8bit" } else { "7bit" };
        let first = format!("{id}nnnnnnnnnnnn@loadgen.test>\r\n");
        // The field is the last that is not covered by its own hash.
        let mut head = first.clone().into_bytes();
        head.extend_from_slice(FIELD);
        let value_at = head.len();
        head.resize(value_at + VALUE_LENGTH, b'?');
        let hashed_from = head.len() + 2;
        let rest = format!(
            "\r\nDate: {date}\r\nFrom: Load Generator <{sender}>\r\nTo: undisclosed-recipients:;\r\n\
             Subject: loadgen\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        head.extend_from_slice(rest.as_bytes());
        let mut hash = ContentHash::default();
        hash.update(&head[hashed_from..]);
        let count = match size_max {
            0..=65_536 => 16,
            65_537..=1_048_576 => 4,
            _ => 2,
        };
        let variants = (0..count).map(|n| Variant::new(kind, size_max, &hash, &mut Random::part(seed, n))).collect();
        Library { head, value_at, id_at: id.len(), run, variants }
    }

    /// Message `number` of about `size` bytes (never less than its head needs).
    pub fn letter(&self, number: u64, size: usize) -> Letter<'_> {
        let variant = &self.variants[(number.wrapping_mul(0x9e37_79b9) >> 7) as usize % self.variants.len()];
        let wanted = size.saturating_sub(self.head.len() + TAIL.len() + 2).min(variant.stuffed.len() - 1);
        // The last line follows the cut; a cut between CR and LF would make a bare CR.
        let cut = if wanted % LINE == LINE - 1 { wanted - 1 } else { wanted };
        let mut tail = [0; TAIL.len() + 2];
        tail[..TAIL.len()].copy_from_slice(TAIL);
        tail[TAIL.len()..].copy_from_slice(b"\r\n");
        write_hex(&mut tail[TAIL_NUMBER], number);
        let body = &variant.stuffed[1..=cut];
        let dotted = if cut == 0 { body } else { &variant.stuffed[..=cut] };
        let strides = cut / STRIDE;
        let mut hash = variant.hashes[strides].clone();
        hash.update(&body[strides * STRIDE..]);
        hash.update(&tail);
        Letter { body, dotted, tail, marker: Marker { run: self.run, number, hash: hash.finish() } }
    }

    /// Appends the head of `letter`.
    pub fn push_head(&self, out: &mut Vec<u8>, letter: &Letter<'_>) {
        let from = out.len();
        out.extend_from_slice(&self.head);
        let head = &mut out[from..];
        write_hex(&mut head[self.id_at..self.id_at + 12], letter.marker.number);
        if let Some(room) = head[self.value_at..].first_chunk_mut() {
            letter.marker.write(room);
        }
    }

    /// Bytes of every head.
    pub fn head_length(&self) -> usize {
        self.head.len()
    }
}

impl Variant {
    fn new(kind: BodyKind, size: usize, head: &ContentHash, random: &mut Random) -> Self {
        let lines = size / LINE + 1;
        let mut stuffed = Vec::with_capacity(1 + lines * LINE);
        stuffed.push(b'.');
        for line in 0..lines {
            let from = stuffed.len();
            push_line(kind, &mut stuffed, random);
            // One line of each message begins with a dot, so that every message tries their doubling.
            match stuffed.get_mut(from) {
                Some(first) if line == 0 => *first = b'.',
                Some(first) if *first == b'.' => *first = b'x',
                _ => {}
            }
        }
        let mut hashes = vec![head.clone()];
        for stride in stuffed[1..].chunks_exact(STRIDE) {
            let mut hash = hashes.last().cloned().unwrap_or_default();
            hash.update(stride);
            hashes.push(hash);
        }
        Variant { stuffed, hashes }
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const WORDS: [&str; 16] = [
    "the",
    "mail",
    "arrives",
    "before",
    "anyone",
    "asks",
    "for",
    "it",
    "and",
    "nobody",
    "knows",
    "why",
    "queue",
    "postmaster",
    "today",
    "again",
];

fn push_line(kind: BodyKind, out: &mut Vec<u8>, random: &mut Random) {
    let end = out.len() + LINE - 2;
    while out.len() < end {
        let bits = random.next_u64();
        match kind {
            BodyKind::Base64 => out.extend((0..10).map(|n| LETTERS[(bits >> (6 * n)) as usize & 63])),
            BodyKind::Bytes => out.extend(bits.to_le_bytes().map(|byte| if byte < 32 { byte | 0x80 } else { byte })),
            BodyKind::Text => {
                out.extend_from_slice(WORDS[bits as usize & 15].as_bytes());
                out.push(b' ');
            }
        }
    }
    out.truncate(end);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::intake::{DotReader, Found, Intake};

    fn library(kind: BodyKind) -> Library {
        Library::new(77, kind, 200_000, "a@b.test", "Mon, 23 Nov 2026 00:00:00 +0000", 1)
    }

    #[test]
    fn every_size_is_met_and_its_hash_is_right() {
        let library = library(BodyKind::Base64);
        let sizes = (0..700).chain(1_000..1_100).chain([1279, 1280, 1281, 9_999, 100_000, 199_999]);
        for (number, size) in sizes.enumerate() {
            let letter = library.letter(number as u64, size);
            let mut content = Vec::new();
            library.push_head(&mut content, &letter);
            assert_eq!(content.len(), library.head_length());
            content.extend_from_slice(letter.body);
            content.extend_from_slice(&letter.tail);
            assert_eq!(content.len(), letter.size(library.head_length()));
            let least = library.head_length() + letter.tail.len();
            assert!(content.len() == size || content.len() + 1 == size || content.len() == least.max(size));
            let mut intake = Intake::default();
            intake.push(&content);
            assert_eq!(intake.finish(), Found::Ours { marker: letter.marker, is_intact: true }, "size {size}");
        }
    }

    #[test]
    fn what_goes_over_data_comes_out_as_it_was() {
        for kind in [BodyKind::Base64, BodyKind::Bytes, BodyKind::Text] {
            let library = library(kind);
            for size in [1, 400, 1_024, 10_240] {
                let letter = library.letter(3, size);
                let mut wire = Vec::new();
                library.push_head(&mut wire, &letter);
                wire.extend_from_slice(letter.dotted);
                wire.extend_from_slice(&letter.tail);
                wire.extend_from_slice(b".\r\n");
                let mut intake = Intake::default();
                let end = DotReader::default().read(&wire, |bytes| intake.push(bytes));
                assert_eq!(end, Some(wire.len()), "{kind:?} {size}");
                assert!(matches!(intake.finish(), Found::Ours { is_intact: true, .. }), "{kind:?} {size}");
                let lines = wire.split(|byte| *byte == b'\n');
                assert!(lines.clone().all(|line| line.len() <= 120 && !line.contains(&0)), "{kind:?} {size}");
                let bare = lines.filter(|line| !line.is_empty()).filter(|line| !line.ends_with(b"\r")).count();
                assert_eq!(bare, 0, "{kind:?} {size}: every line ends in CR LF");
            }
        }
    }

    #[test]
    fn messages_differ() {
        let library = library(BodyKind::Base64);
        assert_ne!(library.letter(1, 1024).marker.hash, library.letter(2, 1024).marker.hash);
    }
}
