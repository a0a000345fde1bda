//! Settings of the control socket: `[control]` (ours).

use std::path::PathBuf;

use crate::schema::Section;

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

impl Settings {
    /// Reads `[control]`.
    pub fn read(s: &Section<'_>) -> Settings {
        let default = Settings::default();
        Settings {
            socket: s
                .key("socket")
                .doc("The path of the socket that posthaste queue, stats and reload talk to; made with mode 0660.")
                .restart()
                .default(default.socket),
            allow_users: s
                .key("allow-users")
                .doc("Numeric user ids that may ask, besides root and the user the server runs as.")
                .restart()
                .default(default.allow_users),
        }
    }
}
