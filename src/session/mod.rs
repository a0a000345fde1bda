//! A session: drives the pure SMTP server machine with bytes in, replies out and questions to policy.
//!
//! Takes a connection from `listener` and the snapshot of the settings; gives transactions to `spool`. Must
//! never be added: a name of `delivery`.

pub mod settings;

pub use settings::Settings;
