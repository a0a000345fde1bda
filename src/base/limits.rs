//! Every cap that is not a setting, in one file, asserted against the others.
//!
//! A loop, buffer or queue without a name here (or a setting) is a fault.

use std::time::Duration;

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
/// One field of a header section, all its lines. A longer one is no mail that anybody reads, and work for all behind us.
pub const HEADER_FIELD_BYTES_MAX: usize = 100 * 1024;
/// Content up to this many octets is gathered in one buffer and committed in the log; more streams to bulk segments.
pub const INLINE_CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Damaged places of a stream that are remembered, so that each is told once.
pub const DAMAGE_PLACES_MAX: usize = 16 * 1024;
/// Parts of a message that is converted to 7-bit; with more it fails with 5.6.3.
pub const DOWNGRADE_PARTS_MAX: usize = 10_000;
/// Multiparts in each other, of a message that is converted to 7-bit.
pub const DOWNGRADE_DEPTH_MAX: usize = 64;
/// Octets of a line that are looked at as a whole during a conversion: more than any delimiter has.
pub const DOWNGRADE_LINE_BYTES: usize = 1024;
/// Content of one bulk extent.
pub const EXTENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one batch of the group commit.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest that a batch under load waits for more before it is written. With the sync before it and its own, a
/// reply stays within two flushes and 2 ms.
pub const GATHER_MAX: Duration = Duration::from_micros(1500);
/// How long a batch without mail, of outcomes only, waits for company: nobody waits for its answer, and a crash in between repeats a delivery
/// as it would a moment earlier.
pub const GATHER_OUTCOMES: Duration = Duration::from_millis(4);
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
/// Octets of one expression in the configuration.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;
/// How deep the tree of one expression may be.
pub const EXPRESSION_DEPTH_MAX: usize = 128;
/// Branches of one if/then/else list.
pub const EXPRESSION_BRANCHES_MAX: usize = 1024;
/// Octets of a text that an expression makes.
pub const EXPRESSION_TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Elements of a list that an expression makes.
pub const EXPRESSION_ITEMS_MAX: usize = RECIPIENTS_MAX;
/// Octets of memory of one compiled regular expression.
pub const REGEX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Keys that expressions may hold in one store of one shard; the oldest goes first.
pub const MEMORY_KEYS_MAX: usize = 65_536;
/// Stores that expressions may write to on one shard.
pub const MEMORY_STORES_MAX: usize = 256;
/// Changes that one mail filter may make to one message; a new body is one, in however many pieces.
pub const MILTER_EDITS_MAX: usize = 4096;
/// How often a mail filter may say that it is still at work before it is called broken.
pub const MILTER_PROGRESS_MAX: u32 = 1024;
/// Octets that are gathered for a mail filter before they are written.
pub const MILTER_WRITE_BYTES: usize = 64 * 1024;
/// Octets of a mail filter's answer to the negotiation.
pub const MILTER_OPTIONS_BYTES_MAX: u32 = 64 * 1024;

/// Keys that one shard owns the limits of; idle ones give way to new ones.
pub const LIMIT_KEYS_MAX: usize = 131_072;
/// Keys under which one shard holds leases or asks for them.
pub const LEASES_MAX: usize = 65_536;
/// Those who wait for one limit at its owner, and on one shard for one lease.
pub const LIMIT_WAITERS_MAX: usize = 1024;
/// Slots looked at for one that may be evicted when a key table is full.
pub const LIMIT_EVICTION_STEPS: usize = 64;
/// Most that one grant gives beyond what was asked.
pub const LEASE_AMOUNT_MAX: u32 = 64;
/// What nobody uses of a lease, nor used lately, returns to its owner after this long.
pub const LEASE_UNUSED: Duration = Duration::from_millis(50);
/// What was in use of a concurrency limit lately stays until nobody has used it for this long, unless it is recalled.
pub const LEASE_REMEMBERED: Duration = Duration::from_secs(1);
/// A lease is kept this long for one who holds it and waits for his other limits.
pub const LEASE_KEPT: Duration = Duration::from_millis(500);
/// With more deliveries ready than this a shard lends attempts to others.
pub const LENDING_ABOVE: usize = 64;
/// A shard that lends goes on until no more than this many are ready.
pub const LENDING_UNTIL: usize = 16;
/// A shard with at most so many deliveries ready takes attempts of others.
pub const HELPING_BELOW: usize = 8;
/// A shard that takes attempts of others goes on until more than this many of its own are ready.
pub const HELPING_UNTIL: usize = 32;
/// A shard that enters more recipients than this into its queue within one tick has enough to do.
pub const HELPING_ENTERED_MAX: u64 = 256;
/// Attempts that one shard has lent to one other at the same time.
pub const LENT_MAX: usize = 64;
/// Attempts of others that one shard takes at the same time.
pub const GUESTS_MAX: usize = 256;
/// Larger messages are not lent: their content is in bulk segments, which their own shard reads.
pub const LENT_BYTES_MAX: u64 = 128 << 10;
/// A shard that takes nothing is asked again after this long, twice as long each time, up to the other bound.
pub const LENDING_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
pub const LENDING_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long an owner's refusal is repeated to others here without asking again.
pub const REFUSAL_VALID: Duration = Duration::from_millis(50);
/// Lateness of a paced departure that is made good; also how long before its time one is handed out.
pub const PACE_SLACK: Duration = Duration::from_millis(10);
/// One step of MT-PRIORITY is worth this much waiting: priority that ages.
pub const PRIORITY_AGEING: Duration = Duration::from_secs(3600);
/// Grain of the queue's timer.
pub const TIMER_TICK: Duration = Duration::from_millis(100);
/// Lanes of one shard; when there are as many, no further message is routed until one is idle.
pub const LANES_MAX: usize = 65_536;
/// Recipient groups of one message that are handed out to be routed together.
pub const ROUTED_GROUPS_MAX: usize = 64;
/// Recipients of one transaction, whatever a peer allows.
pub const TRANSACTION_RECIPIENTS_MAX: usize = 1000;
/// The shortest pause between attempts that may be configured: the grain of the queue's timer.
pub const RETRY_MIN: Duration = Duration::from_millis(100);
/// Messages moved out of a lane that backs off, per turn.
pub const LANE_DEFERRALS_PER_TURN: usize = 1024;
/// A lane whose next hop is in trouble rests at least this long, doubling with each failure.
pub const LANE_BACK_OFF_MIN: Duration = Duration::from_secs(30);
/// A lane rests at most this long before it is tried with one message.
pub const LANE_BACK_OFF_MAX: Duration = Duration::from_secs(15 * 60);
/// How long the trouble of a lane is remembered after its rest when nothing is ready in it.
pub const LANE_MEMORY: Duration = Duration::from_secs(10 * 60);
/// Recipients put off in a row for the sake of the system behind the next hop, after which it is the next hop's trouble.
pub const LANE_DOUBTS_MAX: u32 = 5;
/// Failures in a row that make a lane rest which has worked before.
pub const LANE_FAILURES_MIN: u32 = 2;
/// Lanes looked at for ones to forget when there are as many as there may be.
pub const LANES_FORGOTTEN_PER_CALL: usize = 256;
/// Candidates that one call may find stopped by a limit before it gives up the turn.
pub const CANDIDATES_PER_CALL: usize = 64;
/// Messages on one page of a queue listing.
pub const LIST_PAGE_MAX: usize = 1000;
/// Entries looked at for one page of a queue listing: a filter that matches little answers with a cursor.
pub const LIST_SCAN_MAX: usize = 100_000;

const _: () = {
    assert!(COMMAND_LINE_BYTES_MAX < RECEIVE_BUFFER_BYTES);
    assert!(HEADER_FIELD_BYTES_MAX <= HEADER_SECTION_BYTES_MAX);
    assert!(HEADER_SECTION_BYTES_MAX <= INLINE_CONTENT_BYTES_MAX);
    assert!(INLINE_CONTENT_BYTES_MAX * 4 <= BATCH_BYTES_MAX);
    assert!((BATCH_BYTES_MAX as u64) * 2 <= SEGMENT_BYTES_MIN);
    assert!(EXTENT_BYTES_MAX <= BATCH_BYTES_MAX);
    assert!(DOWNGRADE_LINE_BYTES > TEXT_LINE_BYTES_MAX);
    assert!(PATH_BYTES_MAX < COMMAND_LINE_BYTES_MAX);
    assert!(LEASE_UNUSED.as_millis() < LEASE_KEPT.as_millis());
    assert!(LENDING_UNTIL < LENDING_ABOVE && HELPING_BELOW < HELPING_UNTIL && HELPING_UNTIL < LENDING_ABOVE);
    assert!(LENT_BYTES_MAX < INLINE_CONTENT_BYTES_MAX as u64);
    assert!(LEASE_KEPT.as_millis() < LEASE_REMEMBERED.as_millis());
    assert!(PACE_SLACK.as_millis() < LEASE_UNUSED.as_millis());
    assert!(LIST_PAGE_MAX <= LIST_SCAN_MAX);
    assert!(EXPRESSION_BYTES_MAX < EXPRESSION_TEXT_BYTES_MAX);
    assert!(EXPRESSION_BYTES_MAX <= u16::MAX as usize);
};
