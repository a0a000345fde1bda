//! The two ledgers that the audit compares, as text: what the source was told, what the sink saw.
//!
//! Source: `NUMBER KEY…` per acknowledged message, one key per acknowledged recipient, and
//! `? NUMBER KEY…` where the content was sent and no reply came: it may arrive or not.
//! Sink: `KIND MS RUN-NUMBER KEY…` per message taken. Numbers are decimal in the first, the field's
//! hexadecimal in the second; keys are [`crate::hash::address_key`] in hexadecimal. A first line names
//! the kind of ledger, a last one counts the lines, so that a ledger that was cut is noticed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};

use crate::marker::{Marker, write_hex};

/// First words of a source's ledger; `run=` and the run in hexadecimal follow.
pub const SOURCE_HEAD: &str = "# posthaste-loadgen source ledger 1";
/// First words of a sink's ledger.
pub const SINK_HEAD: &str = "# posthaste-loadgen sink ledger 1";
/// A shard hands over what it gathered when it is larger.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// What a sink says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Arrived, and its hash matches.
    Intact,
    /// Arrived, and its hash does not match.
    Altered,
    /// A report with a null reverse-path that quotes it.
    Returned,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Intact => b'+',
            Kind::Altered => b'!',
            Kind::Returned => b'R',
        }
    }
}

/// One arrival in a sink's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// What it was.
    pub kind: Kind,
    /// Milliseconds since the sink's start.
    pub at_ms: u64,
    /// The run.
    pub run: u64,
    /// The message.
    pub number: u64,
    /// Keys of the recipients it was taken for.
    pub keys: Vec<u64>,
}

fn push_number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_hex<const N: usize>(line: &mut Vec<u8>, value: u64) {
    let mut digits = [0; N];
    write_hex(&mut digits, value);
    line.extend_from_slice(&digits);
}

fn push_keys(line: &mut Vec<u8>, keys: &[u64]) {
    for key in keys {
        line.push(b' ');
        push_hex::<16>(line, *key);
    }
    line.push(b'\n');
}

/// Appends an acknowledgement to a chunk of a source's ledger.
pub fn push_acknowledged(chunk: &mut Vec<u8>, number: u64, keys: &[u64]) {
    push_number(chunk, number);
    push_keys(chunk, keys);
}

/// Appends a message of which nobody knows whether it was taken.
pub fn push_uncertain(chunk: &mut Vec<u8>, number: u64, keys: &[u64]) {
    chunk.extend_from_slice(b"? ");
    push_acknowledged(chunk, number, keys);
}

/// Appends an arrival to a chunk of a sink's ledger.
pub fn push_arrival(chunk: &mut Vec<u8>, kind: Kind, at_ms: u64, marker: &Marker, keys: &[u64]) {
    chunk.extend_from_slice(&[kind.letter(), b' ']);
    push_number(chunk, at_ms);
    chunk.push(b' ');
    push_hex::<16>(chunk, marker.run);
    chunk.push(b'-');
    push_hex::<12>(chunk, marker.number);
    push_keys(chunk, keys);
}

/// A ledger that is being written, by a thread of its own so that no shard waits for a disk.
#[derive(Debug)]
pub struct Writer {
    chunks: Sender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    /// Creates the file (or replaces it) and writes its first line.
    pub fn create(path: &Path, head: &str) -> anyhow::Result<Self> {
        let mut file = File::create(path).with_context(|| format!("cannot write the ledger {}", path.display()))?;
        writeln!(file, "{head}").with_context(|| format!("cannot write the ledger {}", path.display()))?;
        let (chunks, arriving) = mpsc::channel::<Vec<u8>>();
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || {
            let mut lines = 0;
            // An empty chunk is the end: a sender may be left in a session that was still open.
            for chunk in arriving.into_iter().take_while(|chunk| !chunk.is_empty()) {
                lines += memchr::memchr_iter(b'\n', &chunk).count();
                file.write_all(&chunk)?;
            }
            writeln!(file, "# end {lines}")
        })?;
        Ok(Writer { chunks, thread })
    }

    /// Where a shard sends its chunks of whole lines.
    pub fn chunks(&self) -> Sender<Vec<u8>> {
        self.chunks.clone()
    }

    /// Waits until everything that was sent before is written; what is sent later is not.
    pub fn finish(self) -> anyhow::Result<()> {
        let _ = self.chunks.send(Vec::new()); // the thread has ended where it failed, which `join` tells
        match self.thread.join() {
            Ok(outcome) => outcome.context("the ledger could not be written whole"),
            Err(_) => bail!("the ledger's thread panicked"),
        }
    }
}

/// A line of a source's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The server said 250; otherwise nobody knows.
    pub is_acknowledged: bool,
    /// The message.
    pub number: u64,
    /// Keys of its recipients.
    pub keys: Vec<u64>,
}

fn read_keys<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<u64>> {
    words.map(|word| u64::from_str_radix(word, 16).ok()).collect()
}

fn parse_sent(line: &str) -> Option<Sent> {
    let (is_acknowledged, line) = match line.strip_prefix("? ") {
        Some(rest) => (false, rest),
        None => (true, line),
    };
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    Some(Sent { is_acknowledged, number, keys: read_keys(words)? })
}

fn parse_arrival(line: &str) -> Option<Arrival> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "+" => Kind::Intact,
        "!" => Kind::Altered,
        "R" => Kind::Returned,
        _ => return None,
    };
    let at_ms = words.next()?.parse().ok()?;
    let (run, number) = words.next()?.split_once('-')?;
    let (run, number) = (u64::from_str_radix(run, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
    Some(Arrival { kind, at_ms, run, number, keys: read_keys(words)? })
}

fn lines_of(path: &Path, head: &str) -> anyhow::Result<(String, impl Iterator<Item = io::Result<String>>)> {
    let file = File::open(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    let mut lines = BufReader::with_capacity(1 << 20, file).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    if !first.starts_with(head) {
        bail!("{} does not begin with {head:?}: is it the right ledger?", path.display());
    }
    Ok((first, lines))
}

/// Calls `each` for every line that is no comment; gives whether the ledger has its end.
fn each_line(
    path: &Path,
    lines: impl Iterator<Item = io::Result<String>>,
    mut each: impl FnMut(&str) -> Option<()>,
) -> anyhow::Result<bool> {
    let (mut is_ended, mut seen, mut strange) = (false, 0u64, None);
    for (place, line) in lines.enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(place) = strange {
            bail!("{}:{place}: not a line of a ledger", path.display());
        }
        if let Some(count) = line.strip_prefix("# end ") {
            is_ended = count.parse() == Ok(seen);
        } else if !line.is_empty() && !line.starts_with('#') {
            seen += 1;
            // Only the last line may be cut, when the writer was killed: then the end is missing.
            if each(&line).is_none() {
                strange = Some(place + 2);
            }
        }
    }
    Ok(is_ended)
}

/// Reads a source's ledger: its run, and whether it is whole.
pub fn read_source(path: &Path, mut each: impl FnMut(Sent)) -> anyhow::Result<(u64, bool)> {
    let (first, lines) = lines_of(path, SOURCE_HEAD)?;
    let run = first.rsplit_once("run=").and_then(|(_, run)| u64::from_str_radix(run.trim(), 16).ok());
    let run = run.with_context(|| format!("{}: the first line names no run", path.display()))?;
    Ok((run, each_line(path, lines, |line| parse_sent(line).map(&mut each))?))
}

/// Reads a sink's ledger; gives whether it is whole.
pub fn read_sink(path: &Path, mut each: impl FnMut(Arrival)) -> anyhow::Result<bool> {
    let (_, lines) = lines_of(path, SINK_HEAD)?;
    each_line(path, lines, |line| parse_arrival(line).map(&mut each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive() {
        let mut chunk = Vec::new();
        push_acknowledged(&mut chunk, 12, &[1, u64::MAX]);
        push_uncertain(&mut chunk, 13, &[]);
        let marker = Marker { run: 7, number: 300, hash: 1 };
        push_arrival(&mut chunk, Kind::Altered, 55, &marker, &[9]);
        let text = String::from_utf8(chunk).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let sent = Sent { is_acknowledged: true, number: 12, keys: vec![1, u64::MAX] };
        assert_eq!(parse_sent(lines[0]), Some(sent));
        assert_eq!(parse_sent(lines[1]), Some(Sent { is_acknowledged: false, number: 13, keys: vec![] }));
        let arrival = Arrival { kind: Kind::Altered, at_ms: 55, run: 7, number: 300, keys: vec![9] };
        assert_eq!(parse_arrival(lines[2]), Some(arrival));
    }

    #[test]
    fn a_cut_ledger_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sink");
        let writer = Writer::create(&path, SINK_HEAD).expect("created");
        let mut chunk = Vec::new();
        push_arrival(&mut chunk, Kind::Intact, 1, &Marker { run: 1, number: 2, hash: 3 }, &[4]);
        writer.chunks().send(chunk).expect("the thread lives");
        writer.finish().expect("written");
        let mut seen = 0;
        assert!(read_sink(&path, |_| seen += 1).expect("reads"));
        assert_eq!(seen, 1);
        let text = std::fs::read_to_string(&path).expect("reads");
        std::fs::write(&path, text.replace("# end 1\n", "")).expect("writes");
        assert!(!read_sink(&path, |_| {}).expect("reads"));
        std::fs::write(&path, text.replace("# end 1\n", "+ 7 00")).expect("writes");
        assert!(!read_sink(&path, |_| {}).expect("a cut line is the missing end"));
        std::fs::write(&path, text.replace("# end 1\n", "+ 7 00\n# end 2\n")).expect("writes");
        assert!(read_sink(&path, |_| {}).expect_err("damage").to_string().contains(":3: not a line"));
        assert!(read_source(&path, |_| {}).expect_err("a sink's").to_string().contains("right ledger"));
    }
}
