//! `posthaste-loadgen dns`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use posthaste_rt::clock;
use posthaste_rt::signal::Signals;

use super::answer::Responder;
use super::behaviour::{Behaviour, Of, Wait};
use super::server::{self, Counts};
use super::zone::{Broken, Zones};
use crate::values::{Share, Span, grouped};
use crate::{host, table};

/// A name server for the domains of a benchmark: every name below --mail has MX hosts at --address
///
/// Answers by UDP and TCP, with the delays and failures that are asked for. Shares and times are for all types, or
/// for one: 5% or mx=5%; 20ms, 20ms-80ms or a=20ms. It is authoritative for what it is given and refuses the rest; a server
/// under test takes it as its resolver.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to listen, by UDP and TCP; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5353")]
    listen: Vec<SocketAddr>,

    /// This domain and every name below it receive mail (test, unless --zone or --record is given)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    mail: Vec<String>,

    /// MX hosts of each: mx1.DOMAIN, mx2.DOMAIN … with preferences 10, 20 …
    #[arg(long, value_name = "N", default_value_t = 1)]
    hosts: usize,

    /// Addresses of these hosts, by turns
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "127.0.0.1")]
    address: Vec<IpAddr>,

    /// One record: "NAME TYPE VALUE", e.g. "_25._tcp.mx1.test TLSA 3 1 1 00ff…"
    ///
    /// TYPE may be TIMEOUT, SERVFAIL, REFUSED or NXDOMAIN: then the name is broken that way. NAME may begin with "*.".
    #[arg(long, value_name = "RECORD")]
    record: Vec<String>,

    /// File of such lines
    #[arg(long, value_name = "FILE")]
    zone: Vec<PathBuf>,

    /// How long answers may be remembered
    #[arg(long, value_name = "TIME", default_value = "60s")]
    ttl: Span,

    /// Answers to whoever asks for it carry AD, as those of a validating resolver do
    #[arg(long)]
    authentic: bool,

    /// End after this time
    #[arg(long, value_name = "TIME")]
    time: Option<Span>,

    /// Write the counts as JSON to this file at the end ("-" is standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Print nothing but the address
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    trouble: Trouble,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What goes wrong on purpose")]
struct Trouble {
    /// Wait before the answer
    #[arg(long, value_name = "[TYPE=]TIME[-TIME]", value_delimiter = ',')]
    delay: Vec<Of<Wait>>,

    /// Do not answer a share
    #[arg(long, value_name = "[TYPE=]SHARE", value_delimiter = ',')]
    drop: Vec<Of<Share>>,

    /// Answer SERVFAIL to a share
    #[arg(long, value_name = "[TYPE=]SHARE", value_delimiter = ',')]
    servfail: Vec<Of<Share>>,

    /// Answer REFUSED to a share
    #[arg(long, value_name = "[TYPE=]SHARE", value_delimiter = ',')]
    refuse: Vec<Of<Share>>,

    /// Answer NXDOMAIN to a share
    #[arg(long, value_name = "[TYPE=]SHARE", value_delimiter = ',')]
    nxdomain: Vec<Of<Share>>,

    /// Cut a share of the answers over UDP, so that the client asks again by TCP
    #[arg(long, value_name = "[TYPE=]SHARE", value_delimiter = ',')]
    truncate: Vec<Of<Share>>,

    /// Seed of every chance above
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Options {
    fn zones(&self) -> anyhow::Result<Zones> {
        let mut zones = Zones::new(u32::try_from(self.ttl.0.as_secs()).unwrap_or(u32::MAX));
        let is_default = self.mail.is_empty() && self.zone.is_empty() && self.record.is_empty();
        let default = is_default.then(|| "test".to_owned());
        for domain in self.mail.iter().chain(&default) {
            zones.add_mail_domain(domain, self.hosts, &self.address)?;
        }
        for path in &self.zone {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            zones.add_text(&text).with_context(|| path.display().to_string())?;
        }
        for record in &self.record {
            zones.add_line(record)?;
        }
        zones.check()?;
        Ok(zones)
    }

    fn behaviour(&self) -> Behaviour {
        let trouble = &self.trouble;
        let kinds = [
            (Broken::Timeout, &trouble.drop),
            (Broken::ServerFailure, &trouble.servfail),
            (Broken::Refused, &trouble.refuse),
            (Broken::NoSuchName, &trouble.nxdomain),
        ];
        let failures = kinds.iter().flat_map(|(broken, shares)| shares.iter().map(|share| (*broken, *share))).collect();
        Behaviour { delays: trouble.delay.clone(), failures, truncations: trouble.truncate.clone() }
    }
}

/// `posthaste-loadgen dns`.
pub fn command(options: &Options, signals: &mut Signals) -> anyhow::Result<()> {
    let zones = options.zones()?;
    let names = zones.names();
    let responder = Responder { zones, behaviour: options.behaviour(), is_authentic: options.authentic };
    let running = server::start(&options.listen, responder, options.trouble.seed)?;
    for address in &running.addresses {
        println!("dns: listening on {address} (UDP and TCP, {names} names)");
    }
    std::io::stdout().flush()?;
    let started = clock::now();
    let (mut next_line, mut before) = (started + 1_000_000, 0);
    while !host::interrupted(signals, Duration::from_millis(100)) {
        let now = clock::now();
        if options.time.is_some_and(|span| now - started >= span.micros()) {
            break;
        }
        if now >= next_line {
            next_line += 1_000_000;
            let questions = running.counts().questions;
            if questions > before && !options.quiet {
                let (seconds, rate) = ((now - started) / 1_000_000, questions - before);
                println!("dns: {seconds:>5} s  {:>9} questions/s  {:>12} in all", grouped(rate), grouped(questions));
            }
            before = questions;
        }
    }
    let counts = running.finish();
    if let Some(path) = &options.json {
        table::write_json(path, &counts)?;
    }
    if !options.quiet {
        print!("{}", words(&counts));
    }
    Ok(())
}

fn words(counts: &Counts) -> String {
    let mut out = format!("dns\n  {:<24} {}, {} by TCP\n", "questions", grouped(counts.questions), grouped(counts.tcp));
    for (outcome, count) in &counts.outcomes {
        out.push_str(&format!("  {outcome:<24} {}\n", grouped(*count)));
    }
    out
}
