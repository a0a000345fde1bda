//! The milter machine against real filters: pymilter, opendkim, rspamd, spamass-milter, and the same filter behind
//! Debian's Postfix as the oracle.
#![allow(clippy::unwrap_used)]

mod actions;
mod broken;
mod driver;
mod oracle;
mod peers;
mod postfix;
mod real;
