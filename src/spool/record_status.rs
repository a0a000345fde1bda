//! Status records to bytes and back (`docs/spool-format.md` 4.4).

use crate::base::{MessageId, RecipientIndex, StreamId, WallTime};
use crate::mail::{Diagnostic, EnhancedStatus, ErrorKind, Reply, Scope, Status, StatusRecord};

use super::codec::{Corrupt, Put, Take};
use super::record::{put_id, take_id};

/// State octets of statuses.
pub mod state {
    /// Due again.
    pub const DEFERRED: u8 = 1;
    /// Final: the next hop took it.
    pub const DELIVERED: u8 = 2;
    /// Final: permanent failure.
    pub const FAILED: u8 = 3;
    /// Final: the schedule ended.
    pub const EXPIRED: u8 = 4;
    /// Final: an operator removed it.
    pub const REMOVED: u8 = 5;
    /// Final: a rule discarded it.
    pub const DISCARDED: u8 = 6;
    /// Final: replaced by other messages.
    pub const EXPANDED: u8 = 7;
}

/// An upper bound of what [`put_status`] appends.
pub fn status_bound(record: &StatusRecord) -> usize {
    let diagnostic = |d: &Diagnostic| d.remote.len() + d.reply.text.len() + 40;
    64 + match &record.status {
        Status::Deferred { last, .. }
        | Status::Delivered { last, .. }
        | Status::Failed { last, .. }
        | Status::Expired { last, .. } => diagnostic(last),
        Status::Removed | Status::Discarded => 0,
        Status::Expanded { into } => into.len() * 16 + 8,
    }
}

/// Appends the body of a status record.
pub fn put_status(out: &mut Vec<u8>, record: &StatusRecord) {
    put_id(out, record.message);
    out.put_varint(u64::from(record.recipient.0));
    out.put_varint(record.at.0);
    let mut tried = |octet: u8, attempts: u32, last: &Diagnostic| {
        out.put_u8(octet);
        out.put_varint(u64::from(attempts));
        put_diagnostic(out, last);
    };
    match &record.status {
        Status::Deferred { until, attempts, delay_notices, last } => {
            tried(state::DEFERRED, *attempts, last);
            out.put_varint(until.0);
            out.put_varint(u64::from(*delay_notices));
        }
        Status::Delivered { attempts, last } => tried(state::DELIVERED, *attempts, last),
        Status::Failed { attempts, last } => tried(state::FAILED, *attempts, last),
        Status::Expired { attempts, last } => tried(state::EXPIRED, *attempts, last),
        Status::Removed => out.put_u8(state::REMOVED),
        Status::Discarded => out.put_u8(state::DISCARDED),
        Status::Expanded { into } => {
            out.put_u8(state::EXPANDED);
            out.put_varint(into.len() as u64);
            for id in into {
                out.put_u32(id.stream.0);
                put_id(out, *id);
            }
        }
    }
}

/// Reads the body of a status record.
pub fn take_status(take: &mut Take<'_>, stream: StreamId) -> Result<StatusRecord, Corrupt> {
    let message = take_id(take, stream)?;
    let recipient = RecipientIndex(take.varint_u32()?);
    let at = WallTime(take.varint()?);
    let octet = take.u8()?;
    let tried = matches!(octet, state::DEFERRED | state::DELIVERED | state::FAILED | state::EXPIRED);
    let status = if tried {
        let attempts = take.varint_u32()?;
        let last = take_diagnostic(take)?;
        match octet {
            state::DEFERRED => {
                Status::Deferred { until: WallTime(take.varint()?), attempts, delay_notices: take.varint_u32()?, last }
            }
            state::DELIVERED => Status::Delivered { attempts, last },
            state::FAILED => Status::Failed { attempts, last },
            _ => Status::Expired { attempts, last },
        }
    } else {
        match octet {
            state::REMOVED => Status::Removed,
            state::DISCARDED => Status::Discarded,
            state::EXPANDED => {
                let count = take.count(16)?;
                let id = |take: &mut Take<'_>| -> Result<MessageId, Corrupt> {
                    let stream = StreamId(take.u32()?);
                    take_id(take, stream)
                };
                Status::Expanded { into: (0..count).map(|_| id(take)).collect::<Result<_, _>>()? }
            }
            _ => return Err(Corrupt),
        }
    };
    Ok(StatusRecord { message, recipient, at, status })
}

fn put_diagnostic(out: &mut Vec<u8>, diagnostic: &Diagnostic) {
    out.put_u8(diagnostic.kind as u8);
    out.put_u8(diagnostic.scope as u8);
    out.put_str(&diagnostic.remote);
    out.put_u8(u8::from(diagnostic.is_remote));
    out.put_u16(diagnostic.reply.code);
    out.put_option(diagnostic.reply.status, |out, status| {
        out.put_u8(status.class);
        out.put_u16(status.subject);
        out.put_u16(status.detail);
    });
    out.put_str(&diagnostic.reply.text);
}

fn take_diagnostic(take: &mut Take<'_>) -> Result<Diagnostic, Corrupt> {
    let kind = take_error_kind(take)?;
    let scope = match take.u8()? {
        0 => Scope::Recipient,
        1 => Scope::Message,
        2 => Scope::Host,
        3 => Scope::Lane,
        4 => Scope::Source,
        _ => return Err(Corrupt),
    };
    let remote = take.compact()?;
    let is_remote = take.u8()? != 0;
    let code = take.u16()?;
    let status = take.option(|take| Ok(EnhancedStatus::new(take.u8()?, take.u16()?, take.u16()?)))?;
    let text = take.str()?.to_owned().into();
    Ok(Diagnostic { kind, scope, remote, reply: Reply { code, status, text }, is_remote })
}

pub(super) fn take_error_kind(take: &mut Take<'_>) -> Result<ErrorKind, Corrupt> {
    Ok(match take.u8()? {
        0 => ErrorKind::None,
        1 => ErrorKind::Dns,
        2 => ErrorKind::UnexpectedReply,
        3 => ErrorKind::Connection,
        4 => ErrorKind::Tls,
        5 => ErrorKind::Rate,
        6 => ErrorKind::Concurrency,
        7 => ErrorKind::Io,
        _ => return Err(Corrupt),
    })
}
