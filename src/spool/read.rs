//! Reading: headers, facts of whole segments, single frames. Everything is verified before it is believed.

use std::io;

use bytes::Bytes;

use crate::base::StreamId;
use crate::base::limits::BATCH_BYTES_MAX;

use super::error::{Damage, DamageKind};
use super::facts::{Gather, Key, SegmentFacts};
use super::footer::{TRAILER_BYTES, Trailer};
use super::frame::{FRAME_HEADER_BYTES, Found, FrameHeader, Seal, Walk};
use super::segment::{DATA_OFFSET, HeaderFault, SLOT_BYTES, SegmentHeader, SegmentKind, file_name};
use super::storage::StorageFile;
use super::wait::yield_now;

/// Bytes read at once while frames are walked: room for the largest frame and then some.
const WINDOW_BYTES: usize = 2 * BATCH_BYTES_MAX;
/// Bytes read at first when the length of a frame is not known.
const FIRST_READ_BYTES: usize = 8192;

/// A file's header.
pub(super) async fn read_header<F: StorageFile>(file: &F) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    let bytes = file.read_at(0, DATA_OFFSET as usize).await?;
    Ok(SegmentHeader::decode(&bytes))
}

/// A file's header; when its slots differ, the one that does not count is replaced, so that the next
/// header may again be written to the first slot first.
pub(super) async fn repair_header<F: StorageFile>(file: &F) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    let bytes = file.read_at(0, DATA_OFFSET as usize).await?;
    let decoded = SegmentHeader::decode(&bytes);
    if let (Ok(header), true) = (&decoded, SegmentHeader::needs_repair(&bytes)) {
        let mut good = header.encode();
        let second = good.split_off(SLOT_BYTES);
        let is_first_good = bytes.get(..SLOT_BYTES) == Some(&good[..]);
        let (bad, offset) = if is_first_good { (second, SLOT_BYTES as u64) } else { (good, 0) };
        super::stream::write_all(file, bad, offset).await?;
        file.sync().await?;
    }
    Ok(decoded)
}

/// What a walk through a segment found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) facts: SegmentFacts,
    pub(super) damage: Vec<Damage>,
    /// End of the last whole frame.
    pub(super) end: u64,
    /// What lies before this is known to have been synced: what is missing there is damage, beyond it a crash does that.
    pub(super) stable: u64,
    /// Whole frames.
    pub(super) frames: u64,
}

/// A segment to walk.
pub(super) struct Span<'a> {
    pub(super) stream: StreamId,
    pub(super) number: u32,
    pub(super) seal: &'a Seal,
    /// Frames end before this.
    pub(super) limit: u64,
    /// Frames are known to reach it.
    pub(super) is_exact: bool,
    /// It was not closed healthily: its last frames may never have been synced.
    pub(super) may_be_torn: bool,
}

/// Walks all frames of a segment; `visit` sees each whole one.
pub(super) async fn walk<F: StorageFile>(
    file: &F,
    span: &Span<'_>,
    mut visit: impl FnMut(&FrameHeader, u64, &Bytes) -> bool,
) -> io::Result<Walked> {
    let mut walk = Walk::new(*span.seal, DATA_OFFSET, span.limit, span.is_exact);
    let mut walked = Walked { end: DATA_OFFSET, stable: DATA_OFFSET, ..Walked::default() };
    let mut length = WINDOW_BYTES;
    let damage = |offset, length, header: Option<&FrameHeader>, kind| Damage {
        file: format!("stream-{}/{}", span.stream, file_name(SegmentKind::Log, span.number)),
        offset,
        length,
        message: header.map(|header| header.subject(span.stream)),
        kind,
    };
    loop {
        let base = walk.position();
        let wanted = length.min((span.limit.saturating_sub(base)) as usize);
        let window = Bytes::from(file.read_at(base, wanted).await?);
        let last = window.len() < wanted || base + window.len() as u64 >= span.limit;
        loop {
            match walk.next(&window, base, last) {
                Found::Frame { offset, header, payload } => {
                    if !visit(&header, offset, &window.slice(payload)) {
                        walked.damage.push(damage(offset, header.total(), Some(&header), DamageKind::Payload));
                    }
                    walked.frames += 1;
                    walked.end = offset + header.total();
                    walked.stable = walked.stable.max(header.stable);
                }
                Found::BadPayload { offset, header } => {
                    walked.damage.push(damage(offset, header.total(), Some(&header), DamageKind::Payload));
                }
                Found::Gap { offset, length } => walked.damage.push(damage(offset, length, None, DamageKind::Header)),
                Found::More { from } => {
                    // A frame longer than the window: none is written, but a header may say so.
                    length = if from == base { length * 2 } else { WINDOW_BYTES };
                    break;
                }
                Found::End => {
                    let stable = walked.stable;
                    for damage in walked.damage.iter_mut().filter(|damage| span.may_be_torn && damage.offset >= stable)
                    {
                        damage.kind = DamageKind::Torn;
                    }
                    return Ok(walked);
                }
            }
        }
        yield_now().await;
    }
}

/// Walks a segment and gathers its facts.
pub(super) async fn gather<F: StorageFile>(
    file: &F,
    span: &Span<'_>,
    is_gone: impl Fn(Key) -> bool,
) -> io::Result<Walked> {
    let mut gather = Gather::new(span.stream);
    let mut walked =
        walk(file, span, |header, offset, payload| gather.frame(header, offset, payload, &is_gone).is_ok()).await?;
    walked.facts = gather.finish();
    Ok(walked)
}

/// The facts of a sealed segment from its footer; `None` when there is none that verifies.
pub(super) async fn footer<F: StorageFile>(
    file: &F,
    seal: &Seal,
    size: u64,
) -> io::Result<Option<(Trailer, SegmentFacts)>> {
    let at = size.saturating_sub(TRAILER_BYTES as u64);
    let bytes = file.read_at(at, TRAILER_BYTES).await?;
    let Some(trailer) = Trailer::decode(&bytes, seal) else { return Ok(None) };
    if trailer.offset.saturating_add(trailer.length) > at {
        return Ok(None);
    }
    let footer = file.read_at(trailer.offset, trailer.length as usize).await?;
    Ok(trailer.facts(footer, seal).map(|facts| (trailer, facts)))
}

/// The payload of the frame at `offset`, if all of it verifies. `length` is that of the frame, 0 when it is not known.
pub(super) async fn frame<F: StorageFile>(
    file: &F,
    seal: &Seal,
    offset: u64,
    length: usize,
) -> io::Result<Option<(FrameHeader, Bytes)>> {
    let first = if length == 0 { FIRST_READ_BYTES } else { length };
    let mut bytes = file.read_at(offset, first).await?;
    let Some(header) = FrameHeader::decode(&bytes, seal) else { return Ok(None) };
    let end = FRAME_HEADER_BYTES + header.payload_length as usize;
    if end > bytes.len() {
        bytes = file.read_at(offset, end).await?;
    }
    let bytes = Bytes::from(bytes);
    if end > bytes.len() || seal.checksum(&bytes[FRAME_HEADER_BYTES..end]) != header.payload_checksum {
        return Ok(None);
    }
    Ok(Some((header, bytes.slice(FRAME_HEADER_BYTES..end))))
}
