//! The log stream: one line per event, JSON or text, rendered where it happens into the shard's
//! buffer and written by a thread that takes whole buffers.
//!
//! A line costs a few hundred nanoseconds and never waits: when the writer is behind by more than
//! the cap, lines are dropped and counted. Diagnostics of libraries do not come this way.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;

use super::metrics;
use super::names::{Counter, Event};
use crate::base::WallTime;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is wrong with us or our machine.
    Error,
    /// Something an operator should look at.
    Warn,
    /// What happened to messages and connections.
    Info,
    /// Every connection and step.
    Debug,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// `time level event key=value …`.
    Text,
}

/// Bytes of lines that may wait for the writer, per shard.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

struct Buffer {
    format: Format,
    level: Level,
    lines: Vec<u8>,
    stamp: Stamp,
    shard: u16,
}

/// The last rendered time: most lines of a busy shard share their millisecond.
struct Stamp {
    at: WallTime,
    text: String,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const {
        RefCell::new(Buffer {
            format: Format::Text,
            level: Level::Info,
            lines: Vec::new(),
            stamp: Stamp { at: WallTime(u64::MAX), text: String::new() },
            shard: 0,
        })
    };
}

/// Sets this thread's format, the least important level that is written, and the shard's number.
pub fn configure(format: Format, level: Level, shard: u16) {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.format = format;
        buffer.level = level;
        buffer.shard = shard;
    });
}

/// Whether a line of that level would be written: ask before computing what only a line needs.
pub fn enabled(level: Level) -> bool {
    BUFFER.with_borrow(|buffer| level <= buffer.level)
}

/// Takes this thread's lines for the writer, if there are any.
pub fn take() -> Option<Vec<u8>> {
    BUFFER.with_borrow_mut(|buffer| match buffer.lines.is_empty() {
        true => None,
        false => Some(std::mem::take(&mut buffer.lines)),
    })
}

/// Puts lines back in front that the writer could not take.
pub fn give_back(mut lines: Vec<u8>) {
    BUFFER.with_borrow_mut(|buffer| {
        lines.append(&mut buffer.lines);
        buffer.lines = lines;
    });
}

/// Bytes that wait for the writer.
pub fn pending_bytes() -> usize {
    BUFFER.with_borrow(|buffer| buffer.lines.len())
}

/// Writes one line: `event(now, Level::Info, Event::TxAccepted, |line| { line.show("id", id); })`.
pub fn event(now: WallTime, level: Level, event: Event, fields: impl FnOnce(&mut Line<'_>)) {
    BUFFER.with_borrow_mut(|buffer| {
        if level > buffer.level {
            return;
        }
        if buffer.lines.len() > BUFFER_BYTES_MAX {
            metrics::count(Counter::LogLinesLost);
            return;
        }
        metrics::count(Counter::LogLines);
        buffer.stamp.set(now);
        let mut line = Line { out: &mut buffer.lines, format: buffer.format };
        line.open(&buffer.stamp.text, level, event, buffer.shard);
        fields(&mut line);
        line.close();
    });
}

impl Stamp {
    fn set(&mut self, now: WallTime) {
        if now != self.at {
            self.at = now;
            self.text.clear();
            now.write_rfc3339(&mut self.text);
        }
    }
}

/// A line being written. Keys are ours; values may come from anyone and are escaped.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
}

impl Line<'_> {
    fn open(&mut self, time: &str, level: Level, event: Event, shard: u16) {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        // Writing to a Vec cannot fail.
        let _ = match self.format {
            Format::Json => {
                write!(self.out, r#"{{"time":"{time}","level":"{level}","event":"{}","shard":{shard}"#, event.name())
            }
            Format::Text => write!(self.out, "{time} {level:5} {} shard={shard}", event.name()),
        };
    }

    fn close(&mut self) {
        self.out.extend_from_slice(if self.format == Format::Json { b"}\n" } else { b"\n" });
    }

    fn key(&mut self, key: &'static str) {
        if self.format == Format::Json {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            self.out.push(b' ');
            self.out.extend_from_slice(key.as_bytes());
            self.out.push(b'=');
        }
    }

    /// A text value.
    pub fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.key(key);
        self.value(value);
        self
    }

    fn value(&mut self, value: &str) {
        if self.format == Format::Text && value.bytes().all(is_plain) && !value.is_empty() {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            push_quoted(self.out, value);
        }
    }

    /// A value by its `Display`.
    pub fn show(&mut self, key: &'static str, value: impl Display) -> &mut Self {
        self.key(key);
        let is_json = self.format == Format::Json;
        if is_json {
            self.out.push(b'"');
        }
        let start = self.out.len();
        let _ = write!(self.out, "{value}"); // writing to a Vec cannot fail
        let is_plain = self.out[start..].iter().all(|&b| is_plain(b) || is_json && matches!(b, b' ' | b'='));
        if is_json && is_plain {
            self.out.push(b'"');
        } else if !is_plain || self.out.len() == start {
            // Seldom: it is written once more, escaped.
            let raw = self.out.split_off(start);
            self.out.truncate(start - usize::from(is_json));
            self.value(&String::from_utf8_lossy(&raw));
        }
        self
    }

    /// A number.
    pub fn number(&mut self, key: &'static str, value: u64) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }
}

/// It needs no quotes in a line of text, and no escape in JSON.
fn is_plain(b: u8) -> bool {
    matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b'\\' | b'=')
}

/// JSON string escapes, and every control, format and line separator character escaped too, so that
/// a line stays a line and a terminal stays itself.
fn push_quoted(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    for c in value.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            ' '..='~' => out.push(c as u8),
            c if c.is_control() || is_format(c) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}"); // writing to a Vec cannot fail
                }
            }
            c => {
                let mut utf8 = [0u8; 4];
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Bidirectional controls, zero-width characters and separators: harmless in mail, not in a terminal.
pub fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(format: Format, value: &str) -> String {
        configure(format, Level::Info, 3);
        let _ = take();
        event(WallTime(0), Level::Info, Event::TxAccepted, |line| {
            line.text("from", value).number("size", 7);
        });
        String::from_utf8(take().unwrap_or_default()).expect("escaped text is UTF-8")
    }

    fn shown(format: Format, value: &str) -> String {
        configure(format, Level::Info, 3);
        let _ = take();
        event(WallTime(0), Level::Info, Event::TxAccepted, |line| {
            line.show("from", value).number("size", 7);
        });
        String::from_utf8(take().unwrap_or_default()).expect("escaped text is UTF-8")
    }

    #[test]
    fn text_and_json() {
        assert_eq!(line(Format::Text, "a@b"), "1970-01-01T00:00:00.000Z info  tx.accepted shard=3 from=a@b size=7\n");
        assert_eq!(
            line(Format::Json, "a\u{1b}]0;x\u{7}\u{202e}"),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"event\":\"tx.accepted\",\"shard\":3,\
             \"from\":\"a\\u001b]0;x\\u0007\\u202e\",\"size\":7}\n"
        );
    }

    #[test]
    fn what_is_below_the_level_is_not_written() {
        configure(Format::Text, Level::Warn, 0);
        let _ = take();
        event(WallTime(0), Level::Info, Event::TxAccepted, |_| {});
        assert_eq!(take(), None);
        assert!(enabled(Level::Error) && !enabled(Level::Info));
    }

    #[test]
    fn a_writer_that_never_comes_costs_lines_not_memory() {
        configure(Format::Text, Level::Info, 0);
        let _ = take();
        let long = "x".repeat(64 * 1024);
        for _ in 0..200 {
            event(WallTime(0), Level::Info, Event::TxAccepted, |line| {
                line.text("from", &long);
            });
        }
        assert!(pending_bytes() < BUFFER_BYTES_MAX + 2 * long.len());
        assert!(metrics::snapshot().counter(Counter::LogLinesLost) > 0);
        let _ = take();
    }

    proptest! {
        #[test]
        fn one_event_is_one_valid_json_line(value in "(.|\n|\r|\u{2028}){0,60}") {
            let text = line(Format::Json, &value);
            for format in [Format::Json, Format::Text] {
                prop_assert_eq!(shown(format, &value), line(format, &value), "however it is given");
            }
            prop_assert_eq!(text.lines().count(), 1);
            let parsed: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
            prop_assert_eq!(parsed["from"].as_str(), Some(value.as_str()));
            prop_assert_eq!(line(Format::Text, &value).split(['\n', '\r', '\u{2028}']).count(), 2);
        }
    }
}
