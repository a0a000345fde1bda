//! The source's command line, and what it means.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Parser};
use posthaste_rt::clock;
use rustls::pki_types::ServerName;

use super::content::BodyKind;
use super::probe::Wanted;
use super::proxy::ProxyVersion;
use super::recipients::{Population, Template, Zipf};
use super::schedule::Arrivals;
use super::settings::{Load, Settings, TlsSettings, TlsUse};
use super::sizes::{SIZE_MAX, SizeChoice, Sizes};
use super::wire::{Credentials, Features, Mechanism};
use crate::process::watch::WatchOptions;
use crate::random::Random;
use crate::values::{Size, Span};

/// Send messages and measure: at a chosen rate (open loop), or as fast as replies come (closed loop)
///
/// With --rate the send times are fixed beforehand, and latency counts from the intended time, so a server that stalls
/// cannot hide it. Without --rate each session waits for its reply before it sends again; the result says so.
/// With --find-max the highest rate is searched that the server sustains at a p99 goal.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to: HOST:PORT; several are used by turns
    #[arg(value_name = "HOST:PORT", required = true)]
    pub server: Vec<String>,

    #[command(flatten)]
    load: LoadOptions,

    #[command(flatten)]
    content: ContentOptions,

    #[command(flatten)]
    talk: TalkOptions,

    #[command(flatten)]
    pub watch: WatchOptions,

    #[command(flatten)]
    pub output: OutputOptions,
}

/// How much, and when.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How much, and when")]
struct LoadOptions {
    /// Open loop: messages per second
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "find_max")]
    rate: Option<f64>,

    /// Spread of the send times: constant, poisson, or bursts:N (N at the same instant)
    #[arg(long, value_name = "KIND", default_value = "poisson", value_parser = parse_arrivals)]
    arrivals: Arrivals,

    /// Search the highest sustainable rate
    #[arg(long)]
    find_max: bool,

    /// Goal of the search: 99th percentile of the end-to-end latency
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    p99: Span,

    /// Where the search starts, messages per second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 500.0)]
    start_rate: f64,

    /// Length of each step of the search, besides a second of warm-up
    #[arg(long, value_name = "TIME", default_value = "4s")]
    step_time: Span,

    /// How long to measure, warm-up not included (30s; 10m where --messages bounds the run)
    #[arg(long, short = 't', value_name = "TIME")]
    time: Option<Span>,

    /// Messages at most
    #[arg(long, short = 'n', value_name = "N")]
    messages: Option<u64>,

    /// Discarded at the start (2s; nothing where --messages bounds the run)
    #[arg(long, value_name = "TIME")]
    warm_up: Option<Span>,

    /// Connections at once
    #[arg(long, short = 's', value_name = "N", default_value_t = 50)]
    sessions: usize,

    /// Messages on one connection, then QUIT and a new one (no bound)
    #[arg(long, short = 'c', value_name = "N")]
    per_connection: Option<u64>,

    /// New connections per second at most
    #[arg(long, value_name = "PER_SECOND")]
    connect_rate: Option<f64>,

    /// Further connections that say EHLO and stay open
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: usize,

    /// Closed loop: pause of a session between messages
    #[arg(long, value_name = "TIME", default_value = "0s", conflicts_with = "rate")]
    pause: Span,

    /// Threads, each with its own event loop
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,

    /// Seed of send times, sizes and recipients: equal seeds, equal load
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What is sent.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is sent")]
struct ContentOptions {
    /// Size of the content: 1K, lognormal:MEDIAN,SIGMA, or file:PATH with a size on each line
    #[arg(long, value_name = "SIZE", default_value = "1K")]
    size: SizeChoice,

    /// No message is larger
    #[arg(long, value_name = "SIZE", default_value = "10M")]
    size_max: Size,

    /// What bodies are made of
    #[arg(long, value_enum, value_name = "KIND", default_value = "base64")]
    body: BodyKind,

    /// Recipients of each message
    #[arg(long, short = 'r', value_name = "N", default_value_t = 1)]
    recipients: usize,

    /// Recipient, with %u for a user's number and %d for a domain's
    #[arg(long, value_name = "ADDRESS", default_value = "user%u@d%d.loadgen.test")]
    to: Template,

    /// %u is below this
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    users: u64,

    /// %d is below this
    #[arg(long, value_name = "N", default_value_t = 1)]
    domains: usize,

    /// How unequal the domains are: 0 all alike, 1 as in life (Zipf)
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    zipf: f64,

    /// Reverse-path; empty is the null one
    #[arg(long, value_name = "ADDRESS", default_value = "sender@loadgen.test")]
    from: String,
}

/// How the sessions talk.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How the sessions talk")]
struct TalkOptions {
    /// LMTP instead of SMTP
    #[arg(long)]
    lmtp: bool,

    /// When TLS begins
    #[arg(long, value_enum, value_name = "WHEN", default_value = "none")]
    tls: TlsUse,

    /// Make every TLS handshake a full one
    #[arg(long)]
    no_tls_resumption: bool,

    /// Only this version of TLS: 1.2 or 1.3
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"])]
    tls_version: Option<String>,

    /// Name to ask for and to check (the host of the server)
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,

    /// Check the server's certificate against these PEM trust anchors; without them anyone is believed
    #[arg(long, value_name = "FILE")]
    tls_verify: Option<PathBuf>,

    /// Authenticate
    #[arg(long, value_enum, value_name = "MECHANISM", requires = "user")]
    auth: Option<Mechanism>,

    /// User and password for --auth
    #[arg(long, value_name = "USER:PASSWORD")]
    user: Option<String>,

    /// Wait for the reply to each command, even where PIPELINING is offered
    #[arg(long)]
    no_pipelining: bool,

    /// Leave SIZE= out, even where SIZE is offered
    #[arg(long)]
    no_size: bool,

    /// Send the content with BDAT
    #[arg(long)]
    chunking: bool,

    /// Say BODY=8BITMIME
    #[arg(long = "8bitmime")]
    eight_bit: bool,

    /// Say SMTPUTF8 (with an address to match in --to)
    #[arg(long)]
    smtputf8: bool,

    /// Say RET, ENVID, NOTIFY and ORCPT
    #[arg(long)]
    dsn: bool,

    /// Begin each connection with a PROXY header
    #[arg(long, value_enum, value_name = "VERSION")]
    proxy: Option<ProxyVersion>,

    /// The client that the PROXY header names
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "192.0.2.1:40000")]
    proxy_client: SocketAddr,

    /// Connect from this address; several are used by turns
    #[arg(long, value_name = "ADDRESS")]
    source_address: Vec<IpAddr>,

    /// Use only IPv4 addresses of the server
    #[arg(long, short = '4', conflicts_with = "ipv6")]
    ipv4: bool,

    /// Use only IPv6 addresses of the server
    #[arg(long, short = '6')]
    ipv6: bool,

    /// The name in EHLO
    #[arg(long, value_name = "NAME", default_value = "source.loadgen.test")]
    hello: String,

    /// Longest wait for a reply
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
}

/// Where results go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Results")]
pub struct OutputOptions {
    /// Write every acknowledged message to this ledger, for the audit
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Write the result as JSON to this file ("-" is standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the result as one HTML page to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// No line per second while it runs
    #[arg(long)]
    pub quiet: bool,
}

fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "constant" => Ok(Arrivals::Constant),
        "poisson" => Ok(Arrivals::Poisson),
        _ => match text.strip_prefix("bursts:").map(str::parse) {
            Some(Ok(size)) if size > 0 => Ok(Arrivals::Bursts(size)),
            _ => Err(format!("{text:?} is none of constant, poisson, bursts:N")),
        },
    }
}

/// What a search looks for.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// 99th percentile, microseconds.
    pub p99_us: u64,
    /// First rate.
    pub start_rate: f64,
    /// Length of a step, microseconds.
    pub step_us: u64,
    /// Spread of the send times.
    pub arrivals: Arrivals,
}

/// A command line, resolved.
#[derive(Debug)]
pub struct Plan {
    /// How sessions talk; the features are chosen when the server has been seen.
    pub settings: Settings,
    /// Which features are wanted.
    pub wanted: Wanted,
    /// How much and when.
    pub load: Load,
    /// The search, where one is made.
    pub goal: Option<Goal>,
}

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    options: Options,
}

impl Options {
    /// Options as they would be typed, for the parts of this program that run a source themselves.
    pub fn from_words(words: &[&str]) -> anyhow::Result<Self> {
        Ok(Words::try_parse_from(std::iter::once(&"source").chain(words))?.options)
    }

    /// Resolves names, reads files, checks what must fit together.
    pub fn resolve(&self) -> anyhow::Result<Plan> {
        self.check()?;
        let (load, content, talk) = (&self.load, &self.content, &self.talk);
        let servers = self.addresses()?;
        let host = self.server[0].rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        let tls_name = talk.tls_name.as_deref().unwrap_or(host).to_owned();
        let tls = TlsSettings {
            usage: talk.tls,
            name: ServerName::try_from(tls_name.clone()).with_context(|| format!("--tls-name {tls_name}"))?,
            resumes: !talk.no_tls_resumption,
            anchors: talk.tls_verify.clone(),
            version: talk.tls_version.clone(),
        };
        let domains = Zipf::new(content.domains, content.zipf);
        let settings = Settings {
            run: Random::new(clock::wall_ms() ^ (u64::from(std::process::id()) << 40)).next_u64(),
            servers,
            server_words: self.server.join(", "),
            is_lmtp: talk.lmtp,
            tls,
            credentials: self.credentials()?,
            proxy: talk.proxy.map(|version| (version, talk.proxy_client)),
            hello: talk.hello.clone(),
            sender: content.from.clone(),
            population: Population { template: content.to.clone(), users: content.users, domains },
            recipients: content.recipients,
            sizes: Sizes::resolve(&content.size, content.size_max.0.min(SIZE_MAX))?,
            body: content.body,
            features: Features::default(),
            sessions: load.sessions,
            idle: load.idle,
            threads: load.threads.min(load.sessions),
            per_connection: load.per_connection,
            connect_rate: load.connect_rate,
            source_addresses: talk.source_address.clone(),
            patience: talk.timeout.0,
            pause: load.pause.0,
            seed: load.seed,
        };
        let named = Features {
            chunking: talk.chunking,
            eight_bit: talk.eight_bit || content.body == BodyKind::Bytes,
            smtputf8: talk.smtputf8,
            dsn: talk.dsn,
            ..Features::default()
        };
        let wanted = Wanted { named, no_pipelining: talk.no_pipelining, no_size: talk.no_size };
        Ok(Plan { settings, wanted, load: self.load(), goal: self.goal() })
    }

    fn check(&self) -> anyhow::Result<()> {
        let (load, content) = (&self.load, &self.content);
        if load.sessions == 0 || load.threads == 0 || content.recipients == 0 || content.domains == 0 {
            bail!("--sessions, --threads, --recipients and --domains are at least 1");
        }
        if (content.recipients as u64) > content.users {
            bail!("--recipients {} needs as many --users: a message has no recipient twice", content.recipients);
        }
        for (name, value) in [("--rate", load.rate), ("--connect-rate", load.connect_rate)] {
            if value.is_some_and(|value| !value.is_finite() || value <= 0.0) {
                bail!("{name} must be more than 0");
            }
        }
        if load.per_connection == Some(0) {
            bail!("--per-connection is at least 1");
        }
        if !load.start_rate.is_finite() || load.start_rate <= 0.0 {
            bail!("--start-rate must be more than 0");
        }
        Ok(())
    }

    fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut all = Vec::new();
        for name in &self.server {
            let found = name.to_socket_addrs().with_context(|| format!("{name}: write HOST:PORT"))?;
            let is_wanted =
                |address: &SocketAddr| (!self.talk.ipv4 || address.is_ipv4()) && (!self.talk.ipv6 || address.is_ipv6());
            // Like other clients: the first address of a name, not all of them.
            let first = found.into_iter().find(is_wanted);
            all.push(first.with_context(|| format!("{name} has no address of the family that is asked for"))?);
        }
        Ok(all)
    }

    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        let (Some(mechanism), Some(user)) = (self.talk.auth, &self.talk.user) else { return Ok(None) };
        let (user, password) = user.split_once(':').context("--user: write USER:PASSWORD")?;
        Ok(Some(Credentials { mechanism, user: user.to_owned(), password: password.to_owned() }))
    }

    fn load(&self) -> Load {
        const SECOND: u64 = 1_000_000;
        let load = &self.load;
        let (time, warm_up) = match load.messages {
            Some(_) => (600 * SECOND, 0),
            None => (30 * SECOND, 2 * SECOND),
        };
        let warm_up_us = load.warm_up.map_or(warm_up, Span::micros);
        Load {
            open: load.rate.map(|rate| (load.arrivals, rate)),
            warm_up_us,
            end_us: warm_up_us + load.time.map_or(time, Span::micros),
            messages: load.messages,
            first_number: 0,
        }
    }

    fn goal(&self) -> Option<Goal> {
        let load = &self.load;
        load.find_max.then(|| Goal {
            p99_us: load.p99.micros(),
            start_rate: load.start_rate,
            step_us: load.step_time.micros(),
            arrivals: load.arrivals,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said() {
        let faults = [
            (vec!["127.0.0.1:25", "-r", "3", "--users", "2"], "--users"),
            (vec!["127.0.0.1:25", "--rate", "0"], "--rate"),
            (vec!["nowhere"], "HOST:PORT"),
            (vec!["127.0.0.1:25", "--auth", "plain", "--user", "x"], "USER:PASSWORD"),
        ];
        for (words, expected) in faults {
            let error = Options::from_words(&words).and_then(|options| options.resolve()).expect_err("a fault");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }

    #[test]
    fn a_count_bounds_the_run_and_has_no_warm_up() {
        let load = |words: &[&str]| Options::from_words(words).expect("valid").load();
        let timed = load(&["h:1", "--rate", "10"]);
        assert_eq!((timed.warm_up_us, timed.end_us, timed.messages), (2_000_000, 32_000_000, None));
        let counted = load(&["h:1", "-n", "5"]);
        assert_eq!((counted.warm_up_us, counted.messages), (0, Some(5)));
        assert!(counted.end_us > 0, "bounded in time all the same");
    }
}
