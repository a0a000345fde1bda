//! `[server]` apart from its listeners, and `[global]`: what belongs to the process as a whole.

use compact_str::CompactString;
use ipnet::IpNet;

use crate::listener;
use crate::schema::{Section, kinds};

/// The process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// `server.hostname`: our name in greetings, EHLO and trace fields.
    pub hostname: CompactString,
    /// `global.thread-pool`: shards; `None` for one per core this process may use.
    pub shards: Option<u16>,
    /// `server.run-as.user`: who the process becomes after it has bound.
    pub run_as_user: Option<CompactString>,
    /// `server.run-as.group`.
    pub run_as_group: Option<CompactString>,
    /// `server.blocked-ip`: connections from here are closed before the greeting.
    pub blocked_ip: Vec<IpNet>,
    /// `server.allowed-ip`: never blocked; loopback never is.
    pub allowed_ip: Vec<IpNet>,
}

/// `[server]` as read: the process, what listeners share, and the listeners that are ours.
pub(super) struct Server {
    pub settings: ServerSettings,
    pub listeners: Vec<listener::Settings>,
}

const RUN_AS_DOC: &str = "Who the process becomes once its listeners are bound, when it is started as root. Where this is not set, the variables RUN_AS_USER and RUN_AS_GROUP say it.";

/// Reads `[server]` and `[global]`. The default of `server.hostname` is this machine's name.
pub(super) fn read(root: &Section<'_>, machine_name: &str) -> Server {
    let shards = root.table("global", "The process.", |s| {
        s.not_yet("tracing", "tracers are set in [tracer.<id>]");
        s.key("thread-pool")
            .doc("Shards, each a thread on its own core; one for each core this process may use where it is not set.")
            .unit("shards")
            .between(1, 4096)
            .example("4")
            .restart()
            .optional()
    });
    root.table("server", "The server as a whole.", |s| {
        s.not_yet("auto-ban", "nobody is banned automatically");
        s.foreign("http", "there is no HTTP server");
        let variable = |key: &str| s.fact(key).map(CompactString::new);
        let (run_as_user, run_as_group) = s.table("run-as", RUN_AS_DOC, |s| {
            (
                s.key("user")
                    .doc("The user's name.")
                    .example("\"posthaste\"")
                    .restart()
                    .optional()
                    .or_else(|| variable("server.run-as.user")),
                s.key("group")
                    .doc("The group's name; the user's own where it is not set.")
                    .example("\"posthaste\"")
                    .restart()
                    .optional(),
            )
        });
        let settings = ServerSettings {
            hostname: s
                .knob("hostname", kinds::host_name())
                .doc("Our name: in greetings, in EHLO, in trace fields.")
                .example("\"mx.example.org\"")
                .default_found(machine_name.into(), "the name of this machine"),
            shards,
            run_as_user,
            run_as_group,
            blocked_ip: s
                .knob("blocked-ip", kinds::networks())
                .doc("Connections from here are closed before the greeting.")
                .default(Vec::new()),
            allowed_ip: s
                .knob("allowed-ip", kinds::networks())
                .doc("Never blocked, whatever server.blocked-ip says. Loopback never is.")
                .default(Vec::new()),
        };
        let shared = listener::settings::Shared::read(s);
        let listeners = s.named(
            "listener",
            "Where connections come in. No port implies a role: a listener is what its settings say.",
            |s, id| listener::Settings::read(s, id, &shared),
        );
        Server { settings, listeners: listeners.into_iter().filter_map(|(_, listener)| listener).collect() }
    })
}
