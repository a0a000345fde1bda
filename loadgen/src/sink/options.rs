//! The sink's command line, and what it means.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Parser};

use super::behaviour::{At, Behaviour, Outage};
use super::clients::ClientLimits;
use super::machine::Profile;
use crate::values::{Share, Size, Span};

/// A server that takes everything, checks it, and can play a difficult provider
///
/// It prints its addresses as it starts, a line per second while it runs, and a table at the end
/// (Ctrl-C, --time, --messages or --idle-exit end it). Shares are 0.05 or 5%; PHASE is one of connect, ehlo, auth,
/// mail, rcpt, data, content.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to listen; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2626")]
    pub listen: Vec<SocketAddr>,

    /// Speak LMTP: one reply per recipient after the content
    #[arg(long)]
    pub lmtp: bool,

    /// Threads, each with its own listener and event loop
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// Write every arrival to this ledger, for the audit
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Write the counts as JSON to this file at the end ("-" is standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Print nothing while it runs
    #[arg(long)]
    pub quiet: bool,

    /// Print the sink's own ceiling: messages per second and CPU per message, against a source in this process
    #[arg(long)]
    pub self_test: bool,

    /// End after this time
    #[arg(long, value_name = "TIME")]
    pub time: Option<Span>,

    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,

    /// End when nothing arrived for this time, after the first message
    #[arg(long, value_name = "TIME")]
    pub idle_exit: Option<Span>,

    /// Remember this many arrivals to count the doubled ones at the end (8 bytes each)
    #[arg(long, value_name = "N", default_value_t = 50_000_000)]
    pub remember: usize,

    #[command(flatten)]
    offer: Offer,

    #[command(flatten)]
    trouble: Trouble,
}

/// What is offered.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is offered")]
struct Offer {
    /// The name in greetings
    #[arg(long, value_name = "NAME", default_value = "sink.loadgen.test")]
    hostname: String,

    /// Leave an extension out: pipelining, chunking, 8bitmime, smtputf8, dsn, size, enhancedstatuscodes
    #[arg(long, value_name = "EXTENSION", value_delimiter = ',')]
    without: Vec<String>,

    /// Largest message, announced by SIZE
    #[arg(long, value_name = "SIZE", default_value = "100M")]
    size_max: Size,

    /// Offer STARTTLS, with a self-signed certificate unless one is given
    #[arg(long, conflicts_with = "implicit_tls")]
    starttls: bool,

    /// Speak TLS from the first byte
    #[arg(long)]
    implicit_tls: bool,

    /// Certificate chain in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Demand AUTH PLAIN or LOGIN with these credentials
    #[arg(long, value_name = "USER:PASSWORD")]
    auth: Option<String>,

    /// Expect a PROXY header (version 1 or 2) on each connection
    #[arg(long)]
    proxy_protocol: bool,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What goes wrong on purpose")]
struct Trouble {
    /// Wait before the reply, e.g. rcpt=20ms
    #[arg(long, value_name = "PHASE=TIME", value_delimiter = ',')]
    delay: Vec<At<Span>>,

    /// Answer 4xx to a share, e.g. rcpt=5%
    #[arg(long, value_name = "PHASE=SHARE", value_delimiter = ',')]
    tempfail: Vec<At<Share>>,

    /// Answer 5xx to a share, e.g. content=0.1%
    #[arg(long, value_name = "PHASE=SHARE", value_delimiter = ',')]
    reject: Vec<At<Share>>,

    /// Close with RST at a share, e.g. content=1%
    #[arg(long, value_name = "PHASE=SHARE", value_delimiter = ',')]
    drop: Vec<At<Share>>,

    /// Stop answering at a share, and keep the connection open
    #[arg(long, value_name = "PHASE=SHARE", value_delimiter = ',')]
    silence: Vec<At<Share>>,

    /// Send the replies of a share of connections one byte per TIME, e.g. 1%:500ms
    #[arg(long, value_name = "SHARE:TIME", value_parser = parse_tarpit)]
    tarpit: Option<(Share, Span)>,

    /// Be out of order for a while after the start, e.g. 10s-20s:421 (kinds: 421, 451, down, silent)
    #[arg(long, value_name = "FROM-TO:KIND")]
    outage: Vec<Outage>,

    /// Connections at once from one address; more get 421
    #[arg(long, value_name = "N")]
    client_connections: Option<u32>,

    /// Messages per minute from one address; more get 421
    #[arg(long, value_name = "N")]
    client_messages_per_minute: Option<u32>,

    /// Messages on one connection; more get 421
    #[arg(long, value_name = "N")]
    connection_messages: Option<u32>,

    /// Recipients of one message; more get 452
    #[arg(long, value_name = "N")]
    recipients_max: Option<usize>,

    /// Seed of every chance above
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn parse_tarpit(text: &str) -> Result<(Share, Span), String> {
    let (share, span) = text.split_once(':').ok_or_else(|| format!("{text:?} is not SHARE:TIME, e.g. 1%:500ms"))?;
    Ok((share.parse()?, span.parse()?))
}

/// How a sink speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    /// Not at all.
    Never,
    /// After STARTTLS.
    Offered,
    /// From the first byte.
    Implicit,
}

const EXTENSIONS: [&str; 7] = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN", "SIZE"];

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    options: Options,
}

impl Options {
    /// Options as they would be typed, for the parts of this program that run a sink themselves.
    pub fn from_words(words: &[&str]) -> anyhow::Result<Self> {
        Ok(Words::try_parse_from(std::iter::once(&"sink").chain(words))?.options)
    }

    /// What the sessions offer.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        if let Some(wrong) = self.offer.without.iter().find(|name| !is_extension(name)) {
            bail!("--without {wrong}: the extensions are {}", EXTENSIONS.join(", ").to_lowercase());
        }
        let is_left_out = |name: &str| self.offer.without.iter().any(|left| left.eq_ignore_ascii_case(name));
        let extensions = EXTENSIONS.iter().filter(|name| !is_left_out(name)).map(|name| match *name {
            "SIZE" => format!("SIZE {}", self.offer.size_max.0),
            name => name.to_owned(),
        });
        let credentials = match &self.offer.auth {
            None => None,
            Some(text) => match text.split_once(':') {
                Some((user, password)) => Some((user.to_owned(), password.to_owned())),
                None => bail!("--auth {text}: write USER:PASSWORD"),
            },
        };
        Ok(Profile {
            is_lmtp: self.lmtp,
            hostname: self.offer.hostname.clone(),
            extensions: extensions.collect(),
            size_max: self.offer.size_max.0 as u64,
            has_starttls: self.offer.starttls,
            credentials,
            expects_proxy: self.offer.proxy_protocol,
            messages_per_connection: self.trouble.connection_messages,
            recipients_max: self.trouble.recipients_max,
        })
    }

    /// What goes wrong.
    pub fn behaviour(&self) -> Behaviour {
        let mut behaviour = Behaviour::default();
        let trouble = &self.trouble;
        trouble.delay.iter().for_each(|at| behaviour.delay(*at));
        trouble.tempfail.iter().for_each(|at| behaviour.tempfail(*at));
        trouble.reject.iter().for_each(|at| behaviour.reject(*at));
        trouble.drop.iter().for_each(|at| behaviour.drop_some(*at));
        trouble.silence.iter().for_each(|at| behaviour.silence(*at));
        trouble.outage.iter().for_each(|outage| behaviour.outage(*outage));
        if let Some((share, span)) = trouble.tarpit {
            behaviour.tarpit(share, span);
        }
        behaviour
    }

    /// Limits per client.
    pub fn client_limits(&self) -> ClientLimits {
        ClientLimits {
            connections: self.trouble.client_connections,
            messages_per_minute: self.trouble.client_messages_per_minute,
        }
    }

    /// How TLS is spoken.
    pub fn tls_use(&self) -> TlsUse {
        match (self.offer.starttls, self.offer.implicit_tls) {
            (true, _) => TlsUse::Offered,
            (_, true) => TlsUse::Implicit,
            _ => TlsUse::Never,
        }
    }

    /// Certificate and key, where they were given.
    pub fn identity(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.offer.cert.as_ref().zip(self.offer.key.as_ref())
    }

    /// The name in greetings and in a self-signed certificate.
    pub fn hostname(&self) -> &str {
        &self.offer.hostname
    }

    /// Seed of all chances.
    pub fn seed(&self) -> u64 {
        self.trouble.seed
    }
}

fn is_extension(name: &str) -> bool {
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(name))
}
