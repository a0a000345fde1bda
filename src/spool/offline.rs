//! Reading a spool that is not running: `posthaste spool check` and `posthaste spool dump`. Changes nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::io;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::{MessageId, StreamId};

use super::bulk::BulkTable;
use super::error::{Damage, DamageKind, OpenError};
use super::facts::Key;
use super::frame::FrameHeader;
use super::handle::stream_dirs;
use super::index::{Index, Phase, Segment};
use super::message::{Body, Extent, Message, Record};
use super::read::{Span, footer, gather, read_header, walk};
use super::record::decode_all;
use super::recover::Merge;
use super::segment::{
    FORMAT_VERSION, HeaderFault, SegmentHeader, SegmentKind, SegmentState, file_name, parse_file_name,
};
use super::storage::{Storage, StorageFile};

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// The streams by number.
    pub streams: Vec<StreamReport>,
    /// What does not verify.
    pub damage: Vec<Damage>,
}

/// One stream.
#[derive(Debug)]
pub struct StreamReport {
    /// Which.
    pub stream: StreamId,
    /// A process has it: what is being written may look torn.
    pub is_in_use: bool,
    /// Its segments by name.
    pub segments: Vec<SegmentReport>,
    /// Messages with a recipient that is not final.
    pub messages: u64,
    /// Recipients that are not final.
    pub recipients: u64,
}

/// One segment.
#[derive(Debug)]
pub struct SegmentReport {
    /// The file.
    pub name: String,
    /// Ready, or in use.
    pub is_ready: bool,
    /// Its footer verifies.
    pub is_sealed: bool,
    /// Its epoch.
    pub epoch: u64,
    /// Whole frames in it.
    pub frames: u64,
}

impl Report {
    /// Everything verifies; what a crash tore off before it was acknowledged does not count.
    pub fn is_sound(&self) -> bool {
        self.damage.iter().all(|damage| damage.kind == DamageKind::Torn)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stream in &self.streams {
            let in_use = if stream.is_in_use { ", in use by a running server" } else { "" };
            writeln!(
                f,
                "stream {}: {} messages, {} recipients wait{in_use}",
                stream.stream, stream.messages, stream.recipients
            )?;
            for segment in &stream.segments {
                let state = match (segment.is_ready, segment.is_sealed) {
                    (true, _) => "ready",
                    (false, true) => "sealed",
                    (false, false) => "open",
                };
                writeln!(f, "  {} {state}, epoch {:x}, {} frames", segment.name, segment.epoch, segment.frames)?;
            }
        }
        for damage in &self.damage {
            writeln!(f, "{damage}")?;
        }
        f.write_str(if self.is_sound() { "sound\n" } else { "damaged: what is named above is not delivered\n" })
    }
}

/// A stream's files, opened for reading.
struct Files<F> {
    stream: StreamId,
    logs: Vec<(SegmentHeader, F)>,
    bulk: HashMap<u32, (SegmentHeader, F)>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |error| OpenError::Io { path: path.to_owned(), error }
}

/// Reads all headers, log segments newest first.
async fn files<S: Storage>(
    storage: &S,
    dir: &Path,
    stream: StreamId,
    damage: &mut Vec<Damage>,
) -> Result<Files<S::File>, OpenError> {
    let mut files = Files { stream, logs: Vec::new(), bulk: HashMap::new() };
    for name in storage.list(dir).await.map_err(at(dir))? {
        let Some((kind, number)) = parse_file_name(&name) else { continue };
        let path = dir.join(&name);
        let file = storage.open_read(&path).await.map_err(at(&path))?;
        match read_header(&file).await.map_err(at(&path))? {
            Ok(header) if kind == SegmentKind::Log => files.logs.push((header, file)),
            Ok(header) => drop(files.bulk.insert(number, (header, file))),
            Err(HeaderFault::Newer(found)) => {
                return Err(OpenError::NewerFormat { path, found, known: FORMAT_VERSION });
            }
            Err(HeaderFault::Invalid { blank: true }) => {} // raw: a crash while it was made
            Err(HeaderFault::Invalid { blank: false }) => {
                let length = file.size().await.map_err(at(&path))?;
                let file = format!("stream-{stream}/{name}");
                damage.push(Damage { file, offset: 0, length, message: None, kind: DamageKind::Segment });
            }
        }
    }
    files.logs.sort_by_key(|(header, _)| std::cmp::Reverse(header.epoch));
    Ok(files)
}

impl<F> Files<F> {
    /// Where the frames of a segment end, when a header names it.
    fn end(&self, header: &SegmentHeader) -> Option<u64> {
        let named = |end: &&super::segment::End| end.number == header.number && end.epoch == header.epoch;
        self.logs.iter().flat_map(|(other, _)| &other.ends).find(named).map(|end| end.offset)
    }
}

/// Verifies every frame, footer and named extent of the spool in `path`.
pub async fn check<S: Storage>(storage: &S, path: &Path) -> Result<Report, OpenError> {
    let mut report = Report::default();
    for (stream, dir) in stream_dirs(storage, path).await? {
        let is_in_use = storage.lock(&dir.join("lock")).await.map_err(at(&dir))?.is_none();
        let files = files(storage, &dir, stream, &mut report.damage).await?;
        let mut checked = check_stream(&files, &mut report.damage).await.map_err(at(&dir))?;
        checked.is_in_use = is_in_use;
        report.streams.push(checked);
    }
    Ok(report)
}

async fn check_stream<F: StorageFile>(files: &Files<F>, damage: &mut Vec<Damage>) -> io::Result<StreamReport> {
    let stream = files.stream;
    let mut checked = StreamReport { stream, is_in_use: false, segments: Vec::new(), messages: 0, recipients: 0 };
    let mut index = Index::new(Rc::new(RefCell::new(BulkTable::default())));
    let mut merge = Merge::new(stream);
    for (header, _) in &files.logs {
        index.add_segment(header.number, Segment::new(header.seal(), Phase::Closed, header.size));
    }
    let mut live: HashMap<u32, Vec<MessageId>> = HashMap::new();
    for (header, file) in &files.logs {
        let name = file_name(SegmentKind::Log, header.number);
        let is_ready = header.state == SegmentState::Ready;
        let mut segment = SegmentReport { name, is_ready, is_sealed: false, epoch: header.epoch, frames: 0 };
        if !is_ready {
            let seal = header.seal();
            let sealed = footer(file, &seal, header.size).await?;
            segment.is_sealed = sealed.is_some();
            let end = sealed.map(|(trailer, _)| trailer.end).or_else(|| files.end(header));
            let (limit, may_be_torn) = (end.unwrap_or(header.size), !segment.is_sealed);
            let span = Span { stream, number: header.number, seal: &seal, limit, is_exact: end.is_some(), may_be_torn };
            let walked = gather(file, &span, |_| false).await?;
            segment.frames = walked.frames;
            damage.extend(walked.damage);
            let mut part = merge.begin(&mut index, header.number, walked.facts);
            while let Some(batch) = merge.advance(&mut index, &mut part, 1024) {
                checked.messages += batch.len() as u64;
                checked.recipients += batch.iter().map(|message| message.recipients.len() as u64).sum::<u64>();
                live.entry(header.number).or_default().extend(batch.iter().map(|message| message.id));
            }
        }
        checked.segments.push(segment);
    }
    for (header, file) in &files.logs {
        for id in live.remove(&header.number).unwrap_or_default() {
            check_content(files, &index, header, file, id, damage).await?;
        }
    }
    Ok(checked)
}

/// Verifies the extents of an undelivered message.
async fn check_content<F: StorageFile>(
    files: &Files<F>,
    index: &Index,
    header: &SegmentHeader,
    file: &F,
    id: MessageId,
    damage: &mut Vec<Damage>,
) -> io::Result<()> {
    let Some(entry) = Key::new(id).and_then(|key| index.get(key)) else { return Ok(()) };
    let read = super::read::frame(file, &header.seal(), entry.offset(), entry.length() as usize).await?;
    let records = read.and_then(|(_, payload)| decode_all(&payload, files.stream).ok()).unwrap_or_default();
    for record in records {
        let Record::Message(message) = record else { continue };
        let (true, Body::Bulk(extents)) = (message.id == id, &message.body) else { continue };
        for extent in extents.as_slice() {
            if !extent_is_sound(files, extent).await? {
                let file = format!("stream-{}/{}", files.stream, file_name(SegmentKind::Bulk, extent.segment));
                let (offset, length) = (extent.offset, u64::from(extent.length));
                damage.push(Damage { file, offset, length, message: Some(id), kind: DamageKind::Extent });
            }
        }
    }
    Ok(())
}

async fn extent_is_sound<F: StorageFile>(files: &Files<F>, extent: &Extent) -> io::Result<bool> {
    let Some((header, file)) = files.bulk.get(&extent.segment) else { return Ok(false) };
    if header.epoch != extent.epoch {
        return Ok(false);
    }
    let bytes = file.read_at(extent.offset, extent.length as usize).await?;
    Ok(bytes.len() == extent.length as usize && header.seal().checksum(&bytes) == extent.checksum)
}

/// Tells every record of the spool in `path`, oldest segment first, one line each; with `only`, those about one message.
pub async fn dump<S: Storage>(
    storage: &S,
    path: &Path,
    only: Option<MessageId>,
    mut line: impl FnMut(&str),
) -> Result<(), OpenError> {
    for (stream, dir) in stream_dirs(storage, path).await? {
        let mut damage = Vec::new();
        let files = files(storage, &dir, stream, &mut damage).await?;
        for (header, file) in files.logs.iter().rev().filter(|(header, _)| header.state == SegmentState::InUse) {
            let (seal, end) = (header.seal(), files.end(header));
            let limit = end.unwrap_or(header.size);
            let span = Span { stream, number: header.number, seal: &seal, limit, is_exact: false, may_be_torn: true };
            let name = format!("stream-{stream}/{}", file_name(SegmentKind::Log, header.number));
            let visit = |frame: &FrameHeader, offset: u64, payload: &Bytes| {
                let Ok(records) = decode_all(payload, stream) else { return false };
                let wanted = |record: &&Record| only.is_none() || record.message_id() == only;
                for record in records.iter().filter(wanted) {
                    line(&describe(&name, offset, frame, record));
                }
                true
            };
            damage.extend(walk(file, &span, visit).await.map_err(at(&dir))?.damage);
        }
        damage.iter().filter(|d| only.is_none() || d.message == only).for_each(|d| line(&d.to_string()));
    }
    Ok(())
}

fn describe(name: &str, offset: u64, frame: &FrameHeader, record: &Record) -> String {
    let copy = if frame.is_copy() { " copy" } else { "" };
    let mut text = format!("{name} @{offset} #{}-{}{copy} ", frame.order.start, frame.order.sequence);
    // Writing to a string does not fail.
    let _ = match record {
        Record::Message(message) => describe_message(&mut text, message),
        Record::Status(status) => {
            write!(
                text,
                "status {} recipient {} at {}: {:?}",
                status.message, status.recipient.0, status.at, status.status
            )
        }
        Record::Hold { message, at } => write!(text, "hold {message} at {at}"),
        Record::Release { message, at } => write!(text, "release {message} at {at}"),
        Record::Fact { key, value } => write!(text, "fact {key:?}: {} bytes", value.len()),
    };
    text
}

fn describe_message(text: &mut String, message: &Message) -> fmt::Result {
    let from = message.envelope.reverse_path.as_str();
    write!(text, "message {} received {} from {from:?} to", message.id, message.received.at)?;
    for recipient in &message.envelope.recipients {
        write!(text, " {:?}", recipient.path.as_str())?;
    }
    let place = if matches!(message.body, Body::Bulk(_)) { ", body in bulk segments" } else { "" };
    write!(text, ", {} bytes{place}", message.size_bytes())
}
