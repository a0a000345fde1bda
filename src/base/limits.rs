//! Every cap that is not a setting, in one file, asserted against the others.
//!
//! A loop, buffer or queue without a name here (or a setting) is a fault.

/// Octets in one command line, terminator included (RFC 5321 §4.5.3.1.4 asks for 512; extensions add to it).
pub const COMMAND_LINE_BYTES_MAX: usize = 4096;
/// Octets in a local-part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Octets in a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Octets in a path, with its angle brackets (RFC 5321 §4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;
/// Octets of an ENVID before decoding (RFC 3461 §4.4).
pub const ENVID_BYTES_MAX: usize = 100;
/// Octets of an ORCPT before decoding (RFC 3461 §4.2 and room for utf-8 addresses).
pub const ORCPT_BYTES_MAX: usize = 500;
/// Octets in one line of text towards the peer (RFC 5321 §4.5.3.1.6), terminator included.
pub const TEXT_LINE_BYTES_MAX: usize = 1000;
/// Octets in one reply line we read or write (RFC 5321 §4.5.3.1.5 asks for 512; peers exceed it).
pub const REPLY_LINE_BYTES_MAX: usize = 2048;
/// Lines of one reply that are read before the peer is called broken.
pub const REPLY_LINES_MAX: usize = 128;
/// Octets in the header section of a message; beyond it 552.
pub const HEADER_SECTION_BYTES_MAX: usize = 256 * 1024;
/// Content up to this many octets is gathered in one buffer and committed in the log; more streams to bulk segments.
pub const INLINE_CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Content of one bulk extent.
pub const EXTENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one batch of the group commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one frame, header included: one commit.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX - BATCH_ALIGNMENT;
/// Octets of a key of a stream fact.
pub const FACT_KEY_BYTES_MAX: usize = 64;
/// Octets of the value of a stream fact.
pub const FACT_VALUE_BYTES_MAX: usize = 4096;
/// Keys of facts in one stream.
pub const FACTS_MAX: usize = 256;
/// Smallest segment a configuration may ask for.
pub const SEGMENT_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// Batches start on this boundary, so that bytes once acknowledged are never rewritten.
pub const BATCH_ALIGNMENT: usize = 4096;
/// Commits one session may have under way.
pub const SESSION_COMMITS_MAX: usize = 8;
/// Octets of replies held for a peer that does not read.
pub const REPLY_BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// Octets of one receive buffer from the shard's pool.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Recipients in one message, whatever the configuration says.
pub const RECIPIENTS_MAX: usize = 65_536;

const _: () = {
    assert!(COMMAND_LINE_BYTES_MAX < RECEIVE_BUFFER_BYTES);
    assert!(HEADER_SECTION_BYTES_MAX <= INLINE_CONTENT_BYTES_MAX);
    assert!(INLINE_CONTENT_BYTES_MAX * 4 <= BATCH_BYTES_MAX);
    assert!((BATCH_BYTES_MAX as u64) * 2 <= SEGMENT_BYTES_MIN);
    assert!(EXTENT_BYTES_MAX <= BATCH_BYTES_MAX);
    assert!(PATH_BYTES_MAX < COMMAND_LINE_BYTES_MAX);
};
