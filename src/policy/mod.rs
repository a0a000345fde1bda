//! What a site decides about inbound mail: a table of checks per phase.
//!
//! Takes the open question of the server machine with the facts around it ([`Site`], client, transaction,
//! content) and gives a [`Judgement`]: an answer, limits to be taken first, or a question to the DNS.
//!
//! What holds here:
//! - each check is one function in one file of `checks/`; it looks and returns a [`Finding`], and changes nothing;
//! - the order of the checks of a phase is the order of [`pipeline`]'s table, and nothing else;
//! - a refusal takes no limit: limits are taken together, last, when everything else agrees;
//! - a local-part is literal: `%`, `!`, and `@` in quotes route nowhere (no open relay in any spelling);
//! - judging again after an answer repeats no effect.
//!
//! Must never be added: I/O, a clock, a change of a message in place.

mod checks;
mod facts;
mod limiter;
pub mod pipeline;
pub mod settings;
#[cfg(test)]
mod tests;

pub use facts::Facts;
pub use limiter::{InboundLimiter, LimiterKey};
pub use pipeline::{Finding, Found, Judgement, Listener, Ruling, Site, Subject, hostname, is_in, judge};
pub use settings::Settings;
