//! The MTA's side of the milter protocol, versions 2 and 6.

pub mod codec;
pub mod macros;
pub mod negotiate;
#[cfg(test)]
mod testing;

pub use macros::{AuthFacts, Facts, PathFacts, TlsFacts};
pub use negotiate::{Actions, Offer, Steps};
