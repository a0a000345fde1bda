//! Mail filters: the MTA's side of the milter protocol, versions 2 and 6, as machines without I/O.
//!
//! # The protocol in five minutes
//!
//! A *filter* (opendkim, rspamd, anything on libmilter) is a program that listens on a socket. The MTA connects to it,
//! once for each SMTP session, and tells it what happens as it happens. Both send packets: a length, one letter, data.
//!
//! ```text
//!   we say                          letter   the filter answers
//!   version, what it may do, steps   O       the same, cut down; perhaps the symbols it wants
//!   the client's name and address    C  \
//!   EHLO name                        H   |   continue, accept, reject, tempfail,
//!   MAIL path and parameters         M   |   a reply of its own, discard (from MAIL on),
//!   RCPT path and parameters         R   |   or: close the connection
//!   DATA                             T   |
//!   a field                          L   |   (also: skip, no more of this kind)
//!   the header section is over       N   |
//!   a chunk of the body              B  /
//!   end of message                   E       any number of changes and "still at work", then one of the above
//!   abort (this transaction), quit   A Q     nothing
//! ```
//!
//! Before a command go *symbols* (`D`): facts such as the client's verified name, TLS, the queue id. In the negotiation
//! a filter chooses which steps it does not want to see, which it does not answer (so that they go out without a round
//! trip), and which symbols it wants. *Accept* excuses that filter, not the others. What is refused at CONNECT or HELO
//! is the client, at RCPT one recipient, elsewhere the message. Only at the end of a message can it be changed.
//!
//! # The room
//!
//! Takes: events of a session ([`Event`]), the facts known of it ([`Facts`]), the envelope and a
//! [`MessageView`](crate::mail::MessageView), what was read from filters. Gives: octets to write, how long to wait,
//! a [`Verdict`], and [`Changes`]: [`Edits`](crate::mail::Edits) and a wish for quarantine.
//!
//! | file | what |
//! |---|---|
//! | [`codec`] | packets: values to octets and back; the stream decoder |
//! | [`negotiate`] | flags, the offer, what is agreed |
//! | [`macros`] | the symbols, and which go with what |
//! | [`stage`] | the table of steps |
//! | [`machine`] | one connection: [`Connection`] |
//! | [`playback`] | a message from its view to a connection |
//! | [`changes`], [`arguments`] | what a filter does to a message, as edits |
//! | [`chain`] | several filters in order: [`Chain`] |
//!
//! What holds here:
//! - one connection serves one session with all its messages; nothing is told twice;
//! - a filter sees the message as those before it left it, and no body is copied to compose edits;
//! - a filter that breaks the protocol, dies or falls silent, at whatever point, has the configured result
//!   ([`OnFailure`]); of what it wanted changed nothing is done;
//! - no octet of a filter reaches a client, a header section or an envelope unchecked, and none of a client a symbol;
//! - time is a value: [`Step::Read`] says how long, the driver holds the clock.
//!
//! Must never be added: I/O, a clock, a runtime, a retry.
//!
//! # Example
//!
//! One connection by hand. A driver with several filters uses a [`Chain`] instead, whose [`Run`] sequences this.
//!
//! ```
//! use posthaste::milter::{Connection, Facts, Settings, Step, Verdict};
//!
//! let facts = Facts { helo: Some("client.example"), ..Facts::new("mx.example.org") };
//! let mut filter = Connection::new(Settings::default());
//! let mut out = Vec::new();
//!
//! // The negotiation: we write, the filter answers that it may add fields and wants to see everything.
//! assert!(matches!(filter.open(&mut out), Step::Read(_)));
//! assert_eq!(out, b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
//! let step = filter.input(b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x01\0\0\0\0");
//! assert_eq!(step, Step::Done(Verdict::Pass));
//!
//! // HELO: its symbols if there are any (none without TLS), then the name. The filter replies with a code of its own.
//! out.clear();
//! assert!(matches!(filter.helo(&facts, &mut out), Step::Read(_)));
//! assert_eq!(out, b"\0\0\0\x10Hclient.example\0");
//! let Step::Done(Verdict::Refuse(reply)) = filter.input(b"\0\0\0\x13y554 5.7.1 not you\0") else { panic!() };
//! assert_eq!(reply.to_string(), "554 5.7.1 not you");
//! ```
//!
//! # What is spoken
//!
//! | | |
//! |---|---|
//! | versions 2 and 6 | yes; 3 to 5 when a filter answers with them |
//! | every command of libmilter (C H M R T L N B E A Q U D O) | yes; `K` (QUIT_NC) is in the codec, but a connection serves one session |
//! | every answer of libmilter | yes; `SETSYMLIST` as part of the negotiation, which is where libmilter sends it |
//! | steps not seen, not answered, SKIP, RCPT_REJ, HDR_LEADSPC | yes |
//! | packets of 256 KiB and 1 MiB | yes, when the settings offer them: libmilter makes them a property of the filter's whole process |
//! | several filters, a stage of its own for each | yes |
//! | a message that is not in memory | partial: [`Playback`] takes a view; a driver may call [`Connection::body`] itself |
//! | insert at position 0 | partial: goes below our own trace fields, which no edit reaches |
//! | a header value with a first character that is no space, under HDR_LEADSPC | partial: leaves with one |
//! | text that is no UTF-8 in a value or reply | partial: U+FFFD in its place |
//! | parameters of MAIL that filters are told | partial: SIZE, BODY, SMTPUTF8, REQUIRETLS, RET, ENVID, MT-PRIORITY; AUTH as a symbol |
//! | parameters of CHGFROM | partial: RET and ENVID; of ADDRCPT_PAR: NOTIFY and ORCPT |
//! | a recipient without a domain | no: a failure |
//! | a connection that is used for the next client | no |
//! | lines of the header section that are no field, our own trace fields | no: not told, as in sendmail and Postfix |

pub mod arguments;
pub mod chain;
pub mod changes;
pub mod codec;
pub mod machine;
pub mod macros;
pub mod negotiate;
pub mod playback;
mod reply;
pub mod settings;
pub mod stage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Event, Run, Task};
pub use changes::Changes;
pub use machine::{Connection, Failure, Step, Verdict};
pub use macros::{AuthFacts, Facts, PathFacts, TlsFacts};
pub use negotiate::{Actions, Offer, Steps};
pub use playback::{Playback, Played};
pub use settings::{OnFailure, Settings, Timeouts};
pub use stage::{Stage, Stages};
