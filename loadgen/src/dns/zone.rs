//! Names and what they answer. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, anyhow, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, MX, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// CNAMEs followed inside the zones.
const CHAIN_MAX: usize = 8;
/// How long resolvers may remember that there is nothing.
const NEGATIVE_TTL_S: u32 = 30;

/// What a name does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// No answer at all.
    Timeout,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// NXDOMAIN, whatever the zone holds.
    NoSuchName,
}

impl Broken {
    /// The code it is answered with; `None` is silence.
    pub fn code(self) -> Option<ResponseCode> {
        match self {
            Broken::Timeout => None,
            Broken::ServerFailure => Some(ResponseCode::ServFail),
            Broken::Refused => Some(ResponseCode::Refused),
            Broken::NoSuchName => Some(ResponseCode::NXDomain),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "TIMEOUT" => Some(Broken::Timeout),
            "SERVFAIL" => Some(Broken::ServerFailure),
            "REFUSED" => Some(Broken::Refused),
            "NXDOMAIN" => Some(Broken::NoSuchName),
            _ => None,
        }
    }
}

/// What was found for a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Records, aliases first.
    Records(Vec<Record>),
    /// The name is there (after these aliases), but nothing of this type.
    NoData(Vec<Record>, Box<Record>),
    /// No such name (after these aliases).
    NoName(Vec<Record>, Box<Record>),
    /// Not below any of our zones.
    NotOurs,
    /// The name is broken on purpose.
    Broken(Broken),
}

#[derive(Debug, Clone, Default)]
struct Node {
    records: Vec<(RecordType, RData)>,
    broken: Option<Broken>,
}

/// Zones of a benchmark.
#[derive(Debug, Clone)]
pub struct Zones {
    /// By name in lower case. Names between a zone and its records are there too, empty.
    nodes: HashMap<Name, Node>,
    /// Lower case.
    apexes: Vec<Name>,
    ttl_s: u32,
}

fn lower_name(text: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_utf8(text).map_err(|error| anyhow!("{text:?} is not a name: {error}"))?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

impl Zones {
    /// Without any name; records are given for `ttl_s` seconds.
    pub fn new(ttl_s: u32) -> Self {
        Zones { nodes: HashMap::new(), apexes: Vec::new(), ttl_s }
    }

    /// How many names there are.
    pub fn names(&self) -> usize {
        self.nodes.len()
    }

    fn node(&mut self, name: Name) -> &mut Node {
        if let Some(apex) = self.apex_of(&name).cloned() {
            let mut between = name.base_name();
            while between.num_labels() > apex.num_labels() && !self.nodes.contains_key(&between) {
                self.nodes.insert(between.clone(), Node::default());
                between = between.base_name();
            }
        }
        self.nodes.entry(name).or_default()
    }

    fn apex_of(&self, name: &Name) -> Option<&Name> {
        self.apexes.iter().filter(|apex| apex.zone_of(name)).max_by_key(|apex| apex.num_labels())
    }

    fn add_zone(&mut self, apex: Name) {
        if !self.apexes.contains(&apex) {
            self.apexes.push(apex.clone());
            self.nodes.entry(apex).or_default();
        }
    }

    fn add(&mut self, name: Name, data: RData) {
        if self.apex_of(&name).is_none() {
            // Its parent is the zone; a name of one label is its own.
            let apex = if name.num_labels() > 1 { name.base_name() } else { name.clone() };
            self.add_zone(apex);
        }
        self.node(name).records.push((data.record_type(), data));
    }

    /// Makes `domain` and every name below it mail domains: `hosts` MX hosts `mxN.DOMAIN` with preferences 10, 20 …, each
    /// with one of the addresses by turns.
    pub fn add_mail_domain(&mut self, domain: &str, hosts: usize, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let apex = lower_name(domain)?;
        self.add_zone(apex.clone());
        let wildcard = apex.prepend_label("*")?;
        for place in 0..hosts {
            let host = apex.prepend_label(format!("mx{}", place + 1))?;
            let preference = u16::try_from((place + 1) * 10).context("so many hosts have no preferences")?;
            for name in [&apex, &wildcard] {
                self.add(name.clone(), RData::MX(MX::new(preference, host.clone())));
            }
            let own: Vec<_> = match addresses.len() {
                0 => Vec::new(),
                count if count <= hosts => vec![addresses[place % count]],
                count => (place..count).step_by(hosts).map(|turn| addresses[turn]).collect(),
            };
            for address in own {
                self.add(host.clone(), address_data(address));
            }
        }
        Ok(())
    }

    /// Takes a line `NAME TYPE VALUE`; TYPE may also be TIMEOUT, SERVFAIL, REFUSED or NXDOMAIN, and the value is then missing.
    pub fn add_line(&mut self, line: &str) -> anyhow::Result<()> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).ok_or_else(|| anyhow!("{line:?}: NAME TYPE VALUE"))?;
        let name = lower_name(name)?;
        let rest = rest.trim_start();
        let (kind, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if let Some(broken) = Broken::from_word(kind) {
            if self.apex_of(&name).is_none() {
                self.add_zone(name.clone());
            }
            self.node(name).broken = Some(broken);
            return Ok(());
        }
        let kind: RecordType = kind
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| anyhow!("{line:?}: {kind:?} is no type (and none of TIMEOUT, SERVFAIL, REFUSED, NXDOMAIN)"))?;
        // Names in values are absolute here, with or without the last dot.
        let value = match kind {
            RecordType::MX | RecordType::CNAME | RecordType::NS | RecordType::PTR if !value.ends_with('.') => {
                format!("{}.", value.trim_end())
            }
            _ => value.to_owned(),
        };
        let data = RData::try_from_str(kind, &value).map_err(|error| anyhow!("{line:?}: {error}"))?;
        self.add(name, data);
        Ok(())
    }

    /// Takes lines as of [`Zones::add_line`]; empty ones and those that begin with `#` or `;` are comments.
    pub fn add_text(&mut self, text: &str) -> anyhow::Result<()> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with(['#', ';']) {
                self.add_line(line).with_context(|| format!("line {}", number + 1))?;
            }
        }
        Ok(())
    }

    /// Nothing to answer from is a mistake of whoever started us.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.apexes.is_empty() {
            bail!("there is no zone: give --mail, --zone or --record");
        }
        Ok(())
    }

    /// The node a name is answered from: its own, or the wildcard of its closest encloser (RFC 4592 §3.3.1).
    fn lookup(&self, apex: &Name, name: &Name) -> Option<&Node> {
        if let Some(node) = self.nodes.get(name) {
            return Some(node);
        }
        let mut encloser = name.base_name();
        while !self.nodes.contains_key(&encloser) && encloser.num_labels() > apex.num_labels() {
            encloser = encloser.base_name();
        }
        self.nodes.get(&encloser.prepend_label("*").ok()?)
    }

    /// Answers a question.
    pub fn find(&self, name: &Name, kind: RecordType) -> Found {
        let mut aliases = Vec::new();
        let mut owner = name.clone();
        for _ in 0..CHAIN_MAX {
            let lower = owner.to_lowercase();
            let Some(apex) = self.apex_of(&lower) else {
                return if aliases.is_empty() { Found::NotOurs } else { Found::Records(aliases) };
            };
            let Some(node) = self.lookup(apex, &lower) else {
                return Found::NoName(aliases, Box::new(self.start_of(apex)));
            };
            if let Some(broken) = node.broken {
                return Found::Broken(broken);
            }
            let is_wanted = |of: &RecordType| *of == kind || kind == RecordType::ANY;
            let wanted = node.records.iter().filter(|(of, _)| is_wanted(of));
            let record = |(_, data): &(RecordType, RData)| Record::from_rdata(owner.clone(), self.ttl_s, data.clone());
            let before = aliases.len();
            aliases.extend(wanted.map(record));
            if aliases.len() == before && lower == *apex {
                aliases.extend(self.apex_record(apex, kind));
            }
            if aliases.len() > before {
                return Found::Records(aliases);
            }
            let alias = node.records.iter().find_map(|(_, data)| match data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else { return Found::NoData(aliases, Box::new(self.start_of(apex))) };
            let data = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
            aliases.push(Record::from_rdata(owner, self.ttl_s, data));
            owner = target;
        }
        Found::Broken(Broken::ServerFailure)
    }

    /// SOA and NS of a zone that names none.
    fn apex_record(&self, apex: &Name, kind: RecordType) -> Option<Record> {
        match kind {
            RecordType::SOA => Some(self.start_of(apex)),
            RecordType::NS => {
                let server = apex.prepend_label("ns").ok()?;
                Some(Record::from_rdata(apex.clone(), self.ttl_s, RData::NS(NS(server))))
            }
            _ => None,
        }
    }

    fn start_of(&self, apex: &Name) -> Record {
        let server = apex.prepend_label("ns").unwrap_or_else(|_| apex.clone());
        let person = apex.prepend_label("hostmaster").unwrap_or_else(|_| apex.clone());
        let start = SOA::new(server, person, 1, 3600, 600, 86_400, NEGATIVE_TTL_S);
        Record::from_rdata(apex.clone(), NEGATIVE_TTL_S, RData::SOA(start))
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Zones {
        let mut zones = Zones::new(60);
        zones
            .add_mail_domain("test", 2, &["127.0.0.1".parse().expect("v4"), "::1".parse().expect("v6")])
            .expect("taken");
        let text = "# a comment\n\
                    alias.test CNAME target.test\n target.test A 127.0.0.9\n\
                    a.b.c.test TXT \"v=spf1 -all\"\n\
                    _25._tcp.mx1.test TLSA 3 1 1 aabbccdd\n\
                    dead.test TIMEOUT\n\n; another\n bad.test servfail\n\
                    loop.test CNAME loop.test\n";
        zones.add_text(text).expect("taken");
        zones
    }

    fn ask(name: &str, kind: RecordType) -> Found {
        zones().find(&lower_name(name).expect("a name"), kind)
    }

    fn values(found: &Found) -> Vec<String> {
        match found {
            Found::Records(records) => records.iter().map(|record| record.data.to_string()).collect(),
            other => panic!("no records: {other:?}"),
        }
    }

    #[test]
    fn every_name_below_a_mail_domain_has_its_hosts() {
        for name in ["test", "d17.test", "D0.Test", "deep.below.test"] {
            assert_eq!(values(&ask(name, RecordType::MX)), ["10 mx1.test.", "20 mx2.test."], "{name}");
        }
        assert_eq!(values(&ask("mx1.test", RecordType::A)), ["127.0.0.1"]);
        assert_eq!(values(&ask("mx2.test", RecordType::AAAA)), ["::1"]);
        assert!(matches!(ask("mx2.test", RecordType::A), Found::NoData(..)));
        assert_eq!(ask("example.org", RecordType::A), Found::NotOurs);
    }

    #[test]
    fn a_wildcard_does_not_reach_below_names_that_are_there() {
        // RFC 4592: c.test is there (empty), so x.c.test is not covered by *.test.
        assert!(matches!(ask("b.c.test", RecordType::MX), Found::NoData(..)));
        assert!(matches!(ask("x.c.test", RecordType::MX), Found::NoName(..)));
        assert!(matches!(ask("_25._tcp.mx2.test", RecordType::TLSA), Found::NoName(..)));
        assert_eq!(values(&ask("_25._tcp.mx1.test", RecordType::TLSA)), ["3 1 1 aabbccdd"]);
        assert_eq!(values(&ask("a.b.c.test", RecordType::TXT)), ["v=spf1 -all"]);
    }

    #[test]
    fn aliases_are_followed_and_loops_end() {
        assert_eq!(values(&ask("alias.test", RecordType::A)), ["target.test.", "127.0.0.9"]);
        assert_eq!(values(&ask("alias.test", RecordType::CNAME)), ["target.test."]);
        assert_eq!(ask("loop.test", RecordType::A), Found::Broken(Broken::ServerFailure));
    }

    #[test]
    fn names_can_be_broken_and_zones_have_a_start() {
        assert_eq!(ask("dead.test", RecordType::MX), Found::Broken(Broken::Timeout));
        assert_eq!(ask("bad.test", RecordType::A), Found::Broken(Broken::ServerFailure));
        assert!(values(&ask("test", RecordType::SOA))[0].starts_with("ns.test. hostmaster.test. 1 "));
        assert_eq!(values(&ask("test", RecordType::NS)), ["ns.test."]);
    }

    #[test]
    fn lines_that_say_nothing_are_refused_with_their_number() {
        let mut zones = Zones::new(60);
        assert!(zones.check().is_err());
        for wrong in ["x.test", "x.test BOGUS 1", "x.test A 300.0.0.1", "x.test MX mail.test", "x..test A 127.0.0.1"] {
            let error = format!("{:#}", zones.add_text(&format!("\n{wrong}\n")).expect_err(wrong));
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
