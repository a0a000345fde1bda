//! Settings of the control socket: `[control]` (ours).

use std::path::PathBuf;

/// Where operators reach the running server, and who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `control.socket`: the path of the socket, made with mode 0660.
    pub socket: PathBuf,
    /// `control.allow-users`: numeric user ids that may ask, besides root and the server's own user.
    pub allow_users: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { socket: PathBuf::from("./var/control.sock"), allow_users: Vec::new() }
    }
}
