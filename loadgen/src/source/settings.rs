//! What a run is to do, resolved: nothing is left to look up once it runs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::content::BodyKind;
use super::proxy::ProxyVersion;
use super::recipients::Population;
use super::schedule::Arrivals;
use super::sizes::Sizes;
use super::wire::{Credentials, Features};

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsUse {
    /// Never
    None,
    /// After STARTTLS
    Starttls,
    /// With the first byte
    Implicit,
}

/// TLS as it is used.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// When it begins.
    pub usage: TlsUse,
    /// The name that is asked for.
    pub name: ServerName<'static>,
    /// Sessions are resumed.
    pub resumes: bool,
    /// Trust anchors, where the server is to be checked.
    pub anchors: Option<std::path::PathBuf>,
    /// Only this version.
    pub version: Option<String>,
}

/// How sessions talk, the same for every step of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Unique number of the run.
    pub run: u64,
    /// Where to, by turns.
    pub servers: Vec<SocketAddr>,
    /// As it was typed.
    pub server_words: String,
    /// LMTP instead of SMTP.
    pub is_lmtp: bool,
    /// TLS.
    pub tls: TlsSettings,
    /// Credentials, where AUTH is used.
    pub credentials: Option<Credentials>,
    /// PROXY header, and the client it names.
    pub proxy: Option<(ProxyVersion, SocketAddr)>,
    /// The name in EHLO.
    pub hello: String,
    /// Reverse-path.
    pub sender: String,
    /// Recipients.
    pub population: Population,
    /// Recipients of each message.
    pub recipients: usize,
    /// Sizes.
    pub sizes: Sizes,
    /// What bodies are made of.
    pub body: BodyKind,
    /// Extensions in use.
    pub features: Features,
    /// Connections at once.
    pub sessions: usize,
    /// Further connections that only stay open.
    pub idle: usize,
    /// Threads.
    pub threads: usize,
    /// Messages on one connection; `None` is no bound.
    pub per_connection: Option<u64>,
    /// New connections per second, all threads together.
    pub connect_rate: Option<f64>,
    /// Our addresses, by turns.
    pub source_addresses: Vec<IpAddr>,
    /// Longest wait for a reply.
    pub patience: Duration,
    /// Pause between messages of a session in the closed loop.
    pub pause: Duration,
    /// Seed of everything.
    pub seed: u64,
}

/// How much is sent, and when.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Open loop with this rate; `None` is the closed loop.
    pub open: Option<(Arrivals, f64)>,
    /// Discarded at the start, microseconds.
    pub warm_up_us: u64,
    /// When no further message is begun, microseconds since the start.
    pub end_us: u64,
    /// Messages at most.
    pub messages: Option<u64>,
    /// Number of the first message.
    pub first_number: u64,
}
