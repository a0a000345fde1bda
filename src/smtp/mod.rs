//! SMTP, LMTP and ESMTP as bytes and values: commands, content, replies, extensions.
//!
//! Takes octets and facts, gives values and octets. The server machine and the client machine are
//! built on these codecs; the drivers of `session/` and `delivery/` do the input and output.
//!
//! What holds here:
//! - a line, a chunk and an end of data mean one thing only, and nothing else ends them;
//! - how the input is cut into reads changes nothing (each scanner is tested on every split);
//! - no scanner keeps octets of its input: what it could not use yet stays with the caller, at most
//!   one incomplete line or the two octets `.` CR.
//!
//! Must never be added: I/O, a clock, a runtime, policy.

pub mod client;
pub mod command;
pub mod content;
pub mod extensions;
pub mod line;
pub mod proxy;
pub mod reply;
pub mod server;
pub mod stuff;
pub mod xtext;
