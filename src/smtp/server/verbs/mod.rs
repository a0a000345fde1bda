//! One file per verb or family of verbs: carrying it out, and hearing the answer to its question.

pub(super) mod chunk;
pub(super) mod content;
pub(super) mod greet;
pub(super) mod mail;
pub(super) mod other;
pub(super) mod rcpt;
