//! Service extensions: what we offer in our EHLO reply, and what a peer offers in its.
//!
//! [`Extensions`] is built per session from settings and facts (TLS, authentication) and is the one
//! place that decides whether a parameter may be used. [`PeerExtensions`] is small and `Copy`: it is
//! remembered per host.

use std::fmt::Write as _;
use std::time::Duration;

use compact_str::CompactString;

use super::command::{By, CommandError, Hold, MailArguments, RcptArguments, XclientArguments};
use crate::base::WallTime;
use crate::mail::{BodyType, DeliverByMode, Reply};

/// The MT-PRIORITY profiles (RFC 6710 §9): how many levels are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PriorityProfile {
    /// MIXER: -4, 0, 4 and between (RFC 6710 appendix B).
    Mixer,
    /// STANAG4406 (RFC 6710 appendix C).
    Stanag4406,
    /// NSEP (RFC 6710 appendix D).
    Nsep,
}

impl PriorityProfile {
    /// The name as EHLO has it.
    pub fn as_str(self) -> &'static str {
        match self {
            PriorityProfile::Mixer => "MIXER",
            PriorityProfile::Stanag4406 => "STANAG4406",
            PriorityProfile::Nsep => "NSEP",
        }
    }
}

/// What we offer to one client at this moment.
///
/// PIPELINING is only a promise in the reply: pipelined commands are understood at all times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030); offered only together with CHUNKING.
    pub binary_mime: bool,
    /// SMTPUTF8 (RFC 6531); offered only together with 8BITMIME.
    pub smtputf8: bool,
    /// SIZE (RFC 1870): the largest message in octets; zero offers no SIZE and knows no limit.
    pub size_bytes_max: u64,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207): there is a certificate, and TLS is not active yet.
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689): TLS is active.
    pub requiretls: bool,
    /// AUTH (RFC 4954): the mechanisms, joined by spaces; empty offers none.
    pub auth: CompactString,
    /// VRFY is answered.
    pub vrfy: bool,
    /// EXPN is answered.
    pub expn: bool,
    /// NO-SOLICITING (RFC 3865): the classes refused, which may be none.
    pub no_soliciting: Option<CompactString>,
    /// FUTURERELEASE (RFC 4865): the longest hold.
    pub future_release_max: Option<Duration>,
    /// DELIVERBY (RFC 2852): the longest time that may be asked for.
    pub deliver_by_max: Option<Duration>,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: Option<PriorityProfile>,
    /// LIMITS RCPTMAX (RFC 9422); zero says none.
    pub rcpt_max: u32,
    /// LIMITS MAILMAX (RFC 9422); zero says none.
    pub mail_max: u32,
    /// XCLIENT: the client is a trusted proxy.
    pub xclient: bool,
}

impl Default for Extensions {
    /// What is always offered (FEATURES 1.2) and no more.
    fn default() -> Self {
        Extensions {
            pipelining: true,
            eight_bit_mime: true,
            chunking: true,
            binary_mime: true,
            smtputf8: true,
            size_bytes_max: 104_857_600,
            dsn: false,
            starttls: false,
            requiretls: false,
            auth: CompactString::const_new(""),
            vrfy: false,
            expn: false,
            no_soliciting: None,
            future_release_max: None,
            deliver_by_max: None,
            mt_priority: None,
            rcpt_max: 0,
            mail_max: 0,
            xclient: false,
        }
    }
}

impl Extensions {
    /// The reply to EHLO or LHLO: our name, then one extension a line.
    pub fn reply(&self, hostname: &str, now: WallTime) -> Reply {
        let mut text = String::with_capacity(320);
        text.push_str(hostname);
        for (is_offered, line) in [
            (self.pipelining, "PIPELINING"),
            (self.eight_bit_mime, "8BITMIME"),
            (self.chunking, "CHUNKING"),
            (self.offers_binary_mime(), "BINARYMIME"),
            (self.offers_smtputf8(), "SMTPUTF8"),
            (true, "ENHANCEDSTATUSCODES"),
            (self.dsn, "DSN"),
            (self.starttls, "STARTTLS"),
            (self.requiretls, "REQUIRETLS"),
            (self.vrfy, "VRFY"),
            (self.expn, "EXPN"),
        ] {
            if is_offered {
                text.push('\n');
                text.push_str(line);
            }
        }
        self.write_lines_with_values(&mut text, now);
        Reply::plain(250, text)
    }

    fn write_lines_with_values(&self, text: &mut String, now: WallTime) {
        if self.size_bytes_max > 0 {
            let _ = write!(text, "\nSIZE {}", self.size_bytes_max);
        }
        if !self.auth.is_empty() {
            let _ = write!(text, "\nAUTH {}", self.auth);
        }
        if let Some(classes) = &self.no_soliciting {
            let _ = write!(text, "\nNO-SOLICITING {classes}");
            text.truncate(text.trim_end().len());
        }
        if let Some(max) = self.future_release_max {
            let until = (now + max).rfc3339_seconds();
            let _ = write!(text, "\nFUTURERELEASE {} {until}", max.as_secs());
        }
        if self.deliver_by_max.is_some() {
            text.push_str("\nDELIVERBY"); // its argument would be a minimum (RFC 2852 §4); we have none
        }
        if let Some(profile) = self.mt_priority {
            let _ = write!(text, "\nMT-PRIORITY {}", profile.as_str());
        }
        if self.rcpt_max > 0 || self.mail_max > 0 {
            text.push_str("\nLIMITS");
            for (name, max) in [("MAILMAX", self.mail_max), ("RCPTMAX", self.rcpt_max)] {
                if max > 0 {
                    let _ = write!(text, " {name}={max}");
                }
            }
        }
        if self.xclient {
            let _ = write!(text, "\nXCLIENT {}", XclientArguments::NAMES);
        }
    }

    /// BINARYMIME makes no sense without BDAT.
    fn offers_binary_mime(&self) -> bool {
        self.binary_mime && self.chunking
    }

    /// RFC 6531 §3.1: SMTPUTF8 needs 8BITMIME.
    fn offers_smtputf8(&self) -> bool {
        self.smtputf8 && self.eight_bit_mime
    }

    /// Whether the parameters of MAIL may be used as they were given: each by an extension that is
    /// offered, within its bounds. `is_tls` tells the two refusals of REQUIRETLS apart.
    pub fn check_mail(&self, arguments: &MailArguments<'_>, is_tls: bool, now: WallTime) -> Result<(), CommandError> {
        if arguments.requiretls && !is_tls {
            return Err(CommandError::RequireTlsWithoutTls);
        }
        let is_body_offered = match arguments.body {
            None | Some(BodyType::SevenBit) => arguments.body.is_none() || self.eight_bit_mime,
            Some(BodyType::EightBitMime) => self.eight_bit_mime,
            Some(BodyType::BinaryMime) => self.offers_binary_mime(),
        };
        let is_offered = is_body_offered
            && (!arguments.smtputf8 || self.offers_smtputf8())
            && (!arguments.requiretls || self.requiretls)
            && ((arguments.ret.is_none() && arguments.envid.is_none()) || self.dsn)
            && (arguments.hold.is_none() || self.future_release_max.is_some())
            && (arguments.by.is_none() || self.deliver_by_max.is_some())
            && (arguments.priority.is_none() || self.mt_priority.is_some())
            && (arguments.solicit.is_none() || self.no_soliciting.is_some());
        if !is_offered {
            return Err(CommandError::UnknownParameter);
        }
        if self.size_bytes_max > 0 && arguments.size.is_some_and(|size| size > self.size_bytes_max) {
            return Err(CommandError::TooBig);
        }
        self.check_hold(arguments.hold, now)?;
        self.check_by(arguments.by)
    }

    fn check_hold(&self, hold: Option<Hold>, now: WallTime) -> Result<(), CommandError> {
        let max = self.future_release_max.unwrap_or_default();
        match hold {
            Some(Hold::For(seconds)) if u64::from(seconds) > max.as_secs() => {
                Err(CommandError::BadParameter("HOLDFOR"))
            }
            Some(Hold::Until(at)) if at <= now || at.since(now) > max => Err(CommandError::BadParameter("HOLDUNTIL")),
            _ => Ok(()),
        }
    }

    fn check_by(&self, by: Option<By>) -> Result<(), CommandError> {
        let max = self.deliver_by_max.unwrap_or_default();
        match by {
            Some(by) if by.seconds > 0 && by.seconds.unsigned_abs() as u64 > max.as_secs() => {
                Err(CommandError::BadParameter("BY"))
            }
            // A deadline that has passed leaves nothing to be done but to notify (RFC 2852 §4).
            Some(By { seconds: ..=0, mode: DeliverByMode::Return, .. }) => Err(CommandError::BadParameter("BY")),
            _ => Ok(()),
        }
    }

    /// Whether the parameters of RCPT may be used: each by an extension that is offered.
    pub fn check_rcpt(&self, arguments: &RcptArguments<'_>) -> Result<(), CommandError> {
        if self.dsn || arguments.is_empty() { Ok(()) } else { Err(CommandError::UnknownParameter) }
    }
}

/// SASL mechanisms as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// PLAIN (RFC 4616).
    pub const PLAIN: Mechanisms = Mechanisms(1);
    /// LOGIN.
    pub const LOGIN: Mechanisms = Mechanisms(2);
    /// CRAM-MD5 (RFC 2195).
    pub const CRAM_MD5: Mechanisms = Mechanisms(4);
    /// SCRAM-SHA-1 (RFC 5802).
    pub const SCRAM_SHA_1: Mechanisms = Mechanisms(8);
    /// SCRAM-SHA-256 (RFC 7677).
    pub const SCRAM_SHA_256: Mechanisms = Mechanisms(16);
    /// OAUTHBEARER (RFC 7628).
    pub const OAUTHBEARER: Mechanisms = Mechanisms(32);
    /// XOAUTH2.
    pub const XOAUTH2: Mechanisms = Mechanisms(64);
    /// EXTERNAL (RFC 4422 appendix A).
    pub const EXTERNAL: Mechanisms = Mechanisms(128);

    const NAMES: [(&'static str, Mechanisms); 8] = [
        ("PLAIN", Mechanisms::PLAIN),
        ("LOGIN", Mechanisms::LOGIN),
        ("CRAM-MD5", Mechanisms::CRAM_MD5),
        ("SCRAM-SHA-1", Mechanisms::SCRAM_SHA_1),
        ("SCRAM-SHA-256", Mechanisms::SCRAM_SHA_256),
        ("OAUTHBEARER", Mechanisms::OAUTHBEARER),
        ("XOAUTH2", Mechanisms::XOAUTH2),
        ("EXTERNAL", Mechanisms::EXTERNAL),
    ];

    /// The mechanism of that name; the empty set when it is not known.
    pub fn named(name: &str) -> Mechanisms {
        let found = Mechanisms::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Mechanisms::default(), |(_, mechanism)| *mechanism)
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Mechanisms) -> Mechanisms {
        Mechanisms(self.0 | other.0)
    }

    /// All of `other` are in it.
    pub fn contains(self, other: Mechanisms) -> bool {
        self.0 & other.0 == other.0
    }

    /// No known mechanism.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a peer offers. All false and none after HELO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerExtensions {
    /// PIPELINING.
    pub pipelining: bool,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// CHUNKING.
    pub chunking: bool,
    /// BINARYMIME.
    pub binary_mime: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES.
    pub enhanced_status_codes: bool,
    /// DSN.
    pub dsn: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// REQUIRETLS.
    pub requiretls: bool,
    /// SIZE is offered.
    pub size: bool,
    /// The largest message in octets; none when the peer names no fixed limit.
    pub size_bytes_max: Option<u64>,
    /// The mechanisms of AUTH that we know.
    pub auth: Mechanisms,
    /// FUTURERELEASE: the longest hold in seconds.
    pub future_release_s_max: Option<u32>,
    /// DELIVERBY: the shortest time in seconds, zero when none is named.
    pub deliver_by_s_min: Option<u32>,
    /// MT-PRIORITY.
    pub mt_priority: bool,
    /// LIMITS RCPTMAX.
    pub rcpt_max: Option<u32>,
    /// LIMITS MAILMAX.
    pub mail_max: Option<u32>,
    /// LIMITS RCPTDOMAINMAX.
    pub rcpt_domain_max: Option<u32>,
    /// XCLIENT.
    pub xclient: bool,
}

impl PeerExtensions {
    /// Reads the reply to EHLO or LHLO. The first line is the peer's name; unknown extensions and
    /// values that make no sense are skipped.
    pub fn parse(reply: &Reply) -> PeerExtensions {
        let mut peer = PeerExtensions::default();
        for line in reply.text.split('\n').skip(1) {
            // `AUTH=` is how some old servers spell it.
            let mut words = line.split(|c: char| c == ' ' || c == '=' && line.starts_with("AUTH="));
            let keyword = words.next().unwrap_or_default();
            peer.take(&keyword.to_ascii_uppercase(), words.filter(|word| !word.is_empty()));
        }
        peer
    }

    fn take<'w>(&mut self, keyword: &str, mut values: impl Iterator<Item = &'w str>) {
        let mut number = || values.next().and_then(|word| word.parse::<u64>().ok());
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        match keyword {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.requiretls = true,
            "MT-PRIORITY" => self.mt_priority = true,
            "XCLIENT" => self.xclient = true,
            "SIZE" => {
                self.size = true;
                self.size_bytes_max = number().filter(|&n| n > 0);
            }
            "FUTURERELEASE" => self.future_release_s_max = number().map(small),
            "DELIVERBY" => self.deliver_by_s_min = Some(number().map_or(0, small)),
            "AUTH" => self.auth = values.map(Mechanisms::named).fold(self.auth, Mechanisms::with),
            "LIMITS" => self.limits(values),
            _ => {}
        }
    }

    /// `NAME=value` of RFC 9422 §4; zero or nonsense is no limit.
    fn limits<'w>(&mut self, values: impl Iterator<Item = &'w str>) {
        for (name, value) in values.filter_map(|word| word.split_once('=')) {
            let Some(value) = value.parse::<u32>().ok().filter(|&n| n > 0) else { continue };
            match name.to_ascii_uppercase().as_str() {
                "RCPTMAX" => self.rcpt_max = Some(value),
                "MAILMAX" => self.mail_max = Some(value),
                "RCPTDOMAINMAX" => self.rcpt_domain_max = Some(value),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply::{ReplyParser, Step};
    use proptest::prelude::*;

    const NOW: WallTime = WallTime(1_795_386_600_000); // 2026-11-22T22:30:00Z

    fn everything() -> Extensions {
        Extensions {
            dsn: true,
            starttls: true,
            requiretls: true,
            auth: "PLAIN LOGIN".into(),
            vrfy: true,
            expn: true,
            no_soliciting: Some("net.example:ADV".into()),
            future_release_max: Some(Duration::from_secs(604_800)),
            deliver_by_max: Some(Duration::from_secs(1_296_000)),
            mt_priority: Some(PriorityProfile::Mixer),
            rcpt_max: 100,
            mail_max: 10,
            xclient: true,
            ..Extensions::default()
        }
    }

    fn read(reply: &Reply) -> PeerExtensions {
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        match ReplyParser::new().parse(&wire) {
            Ok(Step::Reply { reply, consumed }) if consumed == wire.len() => PeerExtensions::parse(&reply),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_whole_reply() {
        let mut wire = Vec::new();
        everything().reply("mx.example.org", NOW).write_to(&mut wire);
        insta::assert_snapshot!(String::from_utf8(wire).expect("text"));
    }

    #[test]
    fn we_understand_ourselves() {
        let peer = read(&everything().reply("mx.example.org", NOW));
        assert!(peer.pipelining && peer.eight_bit_mime && peer.chunking && peer.binary_mime && peer.smtputf8);
        assert!(peer.enhanced_status_codes && peer.dsn && peer.starttls && peer.requiretls && peer.mt_priority);
        assert!(peer.xclient && peer.size);
        assert_eq!(peer.size_bytes_max, Some(104_857_600));
        assert_eq!((peer.rcpt_max, peer.mail_max, peer.rcpt_domain_max), (Some(100), Some(10), None));
        assert_eq!((peer.future_release_s_max, peer.deliver_by_s_min), (Some(604_800), Some(0)));
        assert!(
            peer.auth.contains(Mechanisms::PLAIN.with(Mechanisms::LOGIN)) && !peer.auth.contains(Mechanisms::XOAUTH2)
        );
    }

    #[test]
    fn nothing_is_offered_without_what_it_needs() {
        let extensions = Extensions { chunking: false, eight_bit_mime: false, ..Extensions::default() };
        let peer = read(&extensions.reply("mx", NOW));
        assert!(!peer.binary_mime && !peer.smtputf8 && !peer.chunking);
        let peer = read(&Extensions { size_bytes_max: 0, ..Extensions::default() }.reply("mx", NOW));
        assert!(!peer.size && peer.auth.is_empty() && !peer.starttls);
    }

    #[test]
    fn peers_spell_as_they_like() {
        let text = "STARTTLS dsn\nsize\nAuth=LOGIN plain unknown\nauth XOAUTH2\npipelining\nLIMITS RCPTMAX=0 mailmax=5 X RCPTDOMAINMAX=1\nSIZE 0\nDELIVERBY 240\n\n8BITMIMEX\nFUTURERELEASE x";
        let peer = PeerExtensions::parse(&Reply::plain(250, text));
        assert!(!peer.starttls && !peer.dsn, "the first line is the peer's name");
        assert!(peer.size && peer.size_bytes_max.is_none() && peer.pipelining && !peer.eight_bit_mime);
        assert_eq!((peer.rcpt_max, peer.mail_max, peer.rcpt_domain_max), (None, Some(5), Some(1)));
        assert_eq!((peer.deliver_by_s_min, peer.future_release_s_max), (Some(240), None));
        assert!(peer.auth.contains(Mechanisms::XOAUTH2));
        let old = PeerExtensions::parse(&Reply::plain(250, "mx\nAUTH=LOGIN PLAIN"));
        assert!(old.auth.contains(Mechanisms::PLAIN.with(Mechanisms::LOGIN)));
    }

    proptest! {
        #[test]
        fn noise_offers_nothing_and_never_panics(text in "(.|\n){0,200}") {
            let peer = PeerExtensions::parse(&Reply::plain(250, text.clone()));
            prop_assert!(!peer.starttls || text.to_ascii_uppercase().contains("STARTTLS"));
        }
    }
}
