//! The embedded configuration: what `posthaste run` does without a file.

/// Its text: unprivileged loopback ports, spool and mail under `./var`, no relaying.
pub const TEXT: &str = include_str!("../../config/default.toml");

/// The name it goes by in messages.
pub const NAME: &str = "(embedded defaults)";
