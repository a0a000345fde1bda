//! Symbols ("macros"): facts that go with a command, chosen by stage.
//!
//! [`Facts`] is what is known of a session and its transaction, borrowed from whoever knows it. A symbol without a
//! value is not sent. Names, defaults and spellings are those of sendmail and Postfix.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::codec::{Packet, code};

/// Declares the symbols with their names on the wire.
macro_rules! symbols {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A symbol that we know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Symbol {
            $($(#[$doc])* $variant,)*
        }

        impl Symbol {
            /// Every symbol.
            pub const ALL: &[Symbol] = &[$(Symbol::$variant,)*];

            /// The name on the wire; one of more than a letter stands in braces.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Symbol::$variant => $name,)*
                }
            }
        }
    };
}

symbols! {
    /// Our host name.
    HostName = "j",
    /// The client: its verified name and its address in brackets.
    Client = "_",
    /// Our program and its version.
    Version = "v",
    /// The queue id, once there is one.
    QueueId = "i",
    /// The address of the listener.
    DaemonAddr = "{daemon_addr}",
    /// The name of the listener.
    DaemonName = "{daemon_name}",
    /// The port of the listener.
    DaemonPort = "{daemon_port}",
    /// The address that the client connected to.
    IfAddr = "{if_addr}",
    /// The host name that belongs to it.
    IfName = "{if_name}",
    /// The client's address.
    ClientAddr = "{client_addr}",
    /// Connections that this client has open.
    ClientConnections = "{client_connections}",
    /// The client's name when its address agrees with it, else `unknown`.
    ClientName = "{client_name}",
    /// The client's port.
    ClientPort = "{client_port}",
    /// The name that the client's address points to, verified or not.
    ClientPtr = "{client_ptr}",
    /// How the client's name was found: OK, FAIL, FORGED or TEMP.
    ClientResolve = "{client_resolve}",
    /// The version of TLS, as `TLSv1.3`.
    TlsVersion = "{tls_version}",
    /// The cipher suite.
    Cipher = "{cipher}",
    /// Its effective key length.
    CipherBits = "{cipher_bits}",
    /// The subject of the client's certificate.
    CertSubject = "{cert_subject}",
    /// The issuer of the client's certificate.
    CertIssuer = "{cert_issuer}",
    /// The SASL mechanism.
    AuthType = "{auth_type}",
    /// Who authenticated.
    AuthAuthen = "{auth_authen}",
    /// The AUTH parameter of MAIL.
    AuthAuthor = "{auth_author}",
    /// Key length of the security layer that SASL negotiated.
    AuthSsf = "{auth_ssf}",
    /// The reverse-path without brackets.
    MailAddr = "{mail_addr}",
    /// The host that reports to the reverse-path go to.
    MailHost = "{mail_host}",
    /// How they go there.
    MailMailer = "{mail_mailer}",
    /// The forward-path without brackets; for a refused one the text of the reply.
    RcptAddr = "{rcpt_addr}",
    /// The host that it goes to; for a refused one the enhanced status.
    RcptHost = "{rcpt_host}",
    /// How it goes there; `error` for a refused one.
    RcptMailer = "{rcpt_mailer}",
}

/// A set of symbols, in the order of [`Symbol::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SymbolSet(u64);

const _: () = assert!(Symbol::ALL.len() <= 64);

impl SymbolSet {
    /// These symbols.
    pub const fn of(symbols: &[Symbol]) -> SymbolSet {
        let (mut bits, mut at) = (0, 0);
        while at < symbols.len() {
            bits |= 1 << symbols[at] as u8;
            at += 1;
        }
        SymbolSet(bits)
    }

    /// Reads a filter's list: names with or without braces, separated by spaces or commas. Unknown ones are left out.
    pub fn parse(names: &[u8]) -> SymbolSet {
        let bare = |name: &'static str| name.trim_matches(['{', '}']).as_bytes();
        let mut bits = 0;
        for name in names.split(|b| matches!(b, b' ' | b',' | b'\t')).filter(|name| !name.is_empty()) {
            let inner = name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}")).unwrap_or(name);
            if let Some(symbol) = Symbol::ALL.iter().find(|symbol| bare(symbol.name()) == inner) {
                bits |= 1 << *symbol as u8;
            }
        }
        SymbolSet(bits)
    }

    /// It is in the set.
    pub fn has(self, symbol: Symbol) -> bool {
        self.0 & (1 << symbol as u8) != 0
    }

    /// The symbols.
    pub fn iter(self) -> impl Iterator<Item = Symbol> {
        Symbol::ALL.iter().copied().filter(move |symbol| self.has(*symbol))
    }
}

/// Stages whose symbols a filter may choose (`SMFIM_…` of libmilter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacroStage {
    /// CONNECT.
    Connect = 0,
    /// HELO.
    Helo = 1,
    /// MAIL.
    Mail = 2,
    /// RCPT.
    Rcpt = 3,
    /// DATA.
    Data = 4,
    /// End of message.
    EndOfMessage = 5,
    /// End of the header section.
    EndOfHeader = 6,
}

impl MacroStage {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// The stage of that number.
    pub fn from_number(number: u32) -> Option<MacroStage> {
        use MacroStage::{Connect, Data, EndOfHeader, EndOfMessage, Helo, Mail, Rcpt};
        [Connect, Helo, Mail, Rcpt, Data, EndOfMessage, EndOfHeader].get(number as usize).copied()
    }

    /// What is sent to a filter that did not choose: what sendmail and Postfix send, together.
    pub const fn defaults(self) -> SymbolSet {
        use Symbol::*;
        match self {
            MacroStage::Connect => SymbolSet::of(&[
                HostName,
                Client,
                Version,
                DaemonName,
                DaemonAddr,
                DaemonPort,
                IfName,
                IfAddr,
                ClientAddr,
                ClientName,
                ClientPort,
                ClientPtr,
                ClientConnections,
                ClientResolve,
            ]),
            MacroStage::Helo => SymbolSet::of(&[TlsVersion, Cipher, CipherBits, CertSubject, CertIssuer]),
            MacroStage::Mail => {
                SymbolSet::of(&[QueueId, AuthType, AuthAuthen, AuthSsf, AuthAuthor, MailMailer, MailHost, MailAddr])
            }
            MacroStage::Rcpt => SymbolSet::of(&[QueueId, RcptMailer, RcptHost, RcptAddr]),
            MacroStage::Data | MacroStage::EndOfMessage | MacroStage::EndOfHeader => SymbolSet::of(&[QueueId]),
        }
    }

    /// The code of the command that the symbols go before.
    pub(super) fn code(self) -> u8 {
        match self {
            MacroStage::Connect => code::CONNECT,
            MacroStage::Helo => code::HELO,
            MacroStage::Mail => code::MAIL,
            MacroStage::Rcpt => code::RCPT,
            MacroStage::Data => code::DATA,
            MacroStage::EndOfMessage => code::END_OF_MESSAGE,
            MacroStage::EndOfHeader => code::END_OF_HEADER,
        }
    }
}

/// What TLS negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsFacts<'a> {
    /// As `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite.
    pub cipher: &'a str,
    /// Its effective key length.
    pub cipher_bits: Option<u16>,
    /// The subject of the client's certificate; empty without one.
    pub cert_subject: &'a str,
    /// The issuer of the client's certificate; empty without one.
    pub cert_issuer: &'a str,
}

/// What authentication said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthFacts<'a> {
    /// The SASL mechanism.
    pub mechanism: &'a str,
    /// Who authenticated.
    pub identity: &'a str,
    /// The AUTH parameter of MAIL; empty without one.
    pub author: &'a str,
}

/// Where an address leads, for `{mail_…}` and `{rcpt_…}`; empty texts are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathFacts<'a> {
    /// The address without brackets.
    pub address: &'a str,
    /// The next hop as routing names it now.
    pub host: &'a str,
    /// The way there: `smtp`, `lmtp`, `local`, and `error` for a refused recipient.
    pub mailer: &'a str,
}

/// What is known of a session. The symbols are made of it, and CONNECT and HELO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Our host name.
    pub hostname: &'a str,
    /// Our program and its version.
    pub version: &'a str,
    /// The name of the listener.
    pub daemon_name: &'a str,
    /// Where the client connected to.
    pub local: Option<SocketAddr>,
    /// The client; none for what comes from this host without a network.
    pub remote: Option<SocketAddr>,
    /// The client's name, verified: its address is among those of the name.
    pub client_name: Option<&'a str>,
    /// What the client's address points to, verified or not.
    pub client_ptr: Option<&'a str>,
    /// The look-up of the name failed for now.
    pub client_name_deferred: bool,
    /// Connections that this client has open.
    pub client_connections: Option<u32>,
    /// What the client said in EHLO, HELO or LHLO.
    pub helo: Option<&'a str>,
    /// TLS, if there is.
    pub tls: Option<TlsFacts<'a>>,
    /// Authentication, if there was.
    pub auth: Option<AuthFacts<'a>>,
    /// The id of the message, if it has one yet; empty if not.
    pub queue_id: &'a str,
    /// The reverse-path of the transaction.
    pub mail: PathFacts<'a>,
    /// The forward-path that is asked about.
    pub rcpt: PathFacts<'a>,
}

impl<'a> Facts<'a> {
    /// A session of which only our own name is known.
    pub fn new(hostname: &'a str) -> Facts<'a> {
        Facts {
            hostname,
            version: concat!("Posthaste ", env!("CARGO_PKG_VERSION")),
            daemon_name: hostname,
            local: None,
            remote: None,
            client_name: None,
            client_ptr: None,
            client_name_deferred: false,
            client_connections: None,
            helo: None,
            tls: None,
            auth: None,
            queue_id: "",
            mail: PathFacts::default(),
            rcpt: PathFacts::default(),
        }
    }

    /// The client's name for CONNECT: verified, or its address in brackets.
    pub fn client_host(&self) -> Cow<'a, str> {
        match (self.client_name, self.remote) {
            (Some(name), _) => name.into(),
            (None, Some(remote)) => format!("[{}]", remote.ip().to_canonical()).into(),
            (None, None) => "localhost".into(),
        }
    }

    /// The value of a symbol; none when there is nothing to say.
    pub fn value(&self, symbol: Symbol) -> Option<Cow<'a, str>> {
        let tls = |text: fn(&TlsFacts<'a>) -> &'a str| self.tls.as_ref().map(text).map(Cow::Borrowed);
        let auth = |text: fn(&AuthFacts<'a>) -> &'a str| self.auth.as_ref().map(text).map(Cow::Borrowed);
        let ip = |address: Option<SocketAddr>| address.map(|a| Cow::Owned(a.ip().to_canonical().to_string()));
        let port = |address: Option<SocketAddr>| address.map(|a| Cow::Owned(a.port().to_string()));
        let value = match symbol {
            Symbol::HostName | Symbol::IfName => Some(Cow::Borrowed(self.hostname)),
            Symbol::Client => self.remote.map(|remote| self.client_line(remote).into()),
            Symbol::Version => Some(self.version.into()),
            Symbol::QueueId => Some(self.queue_id.into()),
            Symbol::DaemonName => Some(self.daemon_name.into()),
            Symbol::DaemonAddr | Symbol::IfAddr => ip(self.local),
            Symbol::DaemonPort => port(self.local),
            Symbol::ClientAddr => ip(self.remote),
            Symbol::ClientConnections => self.client_connections.map(|n| n.to_string().into()),
            Symbol::ClientName => self.remote.map(|_| self.client_name.unwrap_or("unknown").into()),
            Symbol::ClientPort => port(self.remote),
            Symbol::ClientPtr => self.remote.map(|_| self.client_ptr.unwrap_or("unknown").into()),
            Symbol::ClientResolve => self.remote.map(|_| self.client_resolve().into()),
            Symbol::TlsVersion => tls(|tls| tls.version),
            Symbol::Cipher => tls(|tls| tls.cipher),
            Symbol::CipherBits => self.tls.and_then(|tls| tls.cipher_bits).map(|bits| bits.to_string().into()),
            Symbol::CertSubject => tls(|tls| tls.cert_subject),
            Symbol::CertIssuer => tls(|tls| tls.cert_issuer),
            Symbol::AuthType => auth(|auth| auth.mechanism),
            Symbol::AuthAuthen => auth(|auth| auth.identity),
            Symbol::AuthAuthor => auth(|auth| auth.author),
            Symbol::AuthSsf => self.auth.map(|_| "0".into()),
            Symbol::MailAddr => Some(self.mail.address.into()),
            Symbol::MailHost => Some(self.mail.host.into()),
            Symbol::MailMailer => Some(self.mail.mailer.into()),
            Symbol::RcptAddr => Some(self.rcpt.address.into()),
            Symbol::RcptHost => Some(self.rcpt.host.into()),
            Symbol::RcptMailer => Some(self.rcpt.mailer.into()),
        };
        // The null reverse-path is a value, and it replaces that of the message before.
        value.filter(|value| !value.is_empty() || symbol == Symbol::MailAddr)
    }

    /// `name [address]`; a name that is not verified is `unknown`, as in Postfix.
    fn client_line(&self, remote: SocketAddr) -> String {
        let mut line = String::from(self.client_name.unwrap_or("unknown"));
        let _ = write!(line, " [{}]", remote.ip().to_canonical()); // a string takes everything
        line
    }

    fn client_resolve(&self) -> &'static str {
        match (self.client_name, self.client_ptr) {
            (Some(_), _) => "OK",
            _ if self.client_name_deferred => "TEMP",
            (None, Some(_)) => "FORGED",
            (None, None) => "FAIL",
        }
    }

    /// Appends the symbols of a set that have a value, for a command; nothing when none has.
    pub(super) fn encode(&self, of: u8, set: SymbolSet, out: &mut Vec<u8>) {
        let mut packet = Packet::begin(code::MACRO, out);
        packet.octets(&[of]);
        let empty = packet.data_len();
        for symbol in set.iter() {
            if let Some(value) = self.value(symbol) {
                packet.text(symbol.name().as_bytes());
                packet.text(clean(&value).as_bytes());
            }
        }
        if packet.data_len() == empty { packet.discard() } else { packet.end() }
    }
}

/// No control character of a client reaches a filter's log or a field that it writes.
fn clean(value: &str) -> Cow<'_, str> {
    match value.bytes().any(|b| b.is_ascii_control()) {
        false => Cow::Borrowed(value),
        true => Cow::Owned(value.replace(|c: char| c.is_ascii_control(), "?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            local: Some(([192, 0, 2, 25], 25).into()),
            remote: Some(([198, 51, 100, 7], 4711).into()),
            client_name: Some("client.test"),
            client_ptr: Some("client.test"),
            client_connections: Some(3),
            helo: Some("client.test"),
            tls: Some(TlsFacts {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
                cipher_bits: Some(256),
                ..TlsFacts::default()
            }),
            auth: Some(AuthFacts { mechanism: "PLAIN", identity: "jane\r\nX: y", author: "" }),
            queue_id: "ABC",
            mail: PathFacts { address: "a@one.test", host: "one.test", mailer: "smtp" },
            rcpt: PathFacts { address: "b@two.test", host: "two.test", mailer: "lmtp" },
            version: "Posthaste",
            ..Facts::new("mx.test")
        }
    }

    #[test]
    fn every_symbol_of_a_full_session() {
        let facts = facts();
        let lines: Vec<_> = Symbol::ALL
            .iter()
            .map(|symbol| format!("{}={}", symbol.name(), facts.value(*symbol).unwrap_or("(none)".into())))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn an_unverified_client_is_unknown() {
        let facts = Facts { client_name: None, ..facts() };
        let all = [Symbol::Client, Symbol::ClientName, Symbol::ClientPtr, Symbol::ClientResolve];
        let values: Vec<_> = all.iter().filter_map(|symbol| facts.value(*symbol)).collect();
        assert_eq!(values, ["unknown [198.51.100.7]", "unknown", "client.test", "FORGED"]);
        assert_eq!(facts.client_host(), "[198.51.100.7]");
    }

    #[test]
    fn symbols_without_a_value_are_not_sent() {
        let mut out = Vec::new();
        Facts::new("mx.test").encode(b'H', MacroStage::Helo.defaults(), &mut out);
        assert!(out.is_empty());
        facts().encode(b'R', MacroStage::Rcpt.defaults(), &mut out);
        let expected = b"DRi\0ABC\0{rcpt_addr}\0b@two.test\0{rcpt_host}\0two.test\0{rcpt_mailer}\0lmtp\0";
        assert_eq!(out[4..].escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(out[..4], (expected.len() as u32).to_be_bytes());
    }

    #[test]
    fn a_value_has_no_line_end() {
        let mut out = Vec::new();
        facts().encode(b'M', SymbolSet::of(&[Symbol::AuthAuthen]), &mut out);
        assert!(out.ends_with(b"{auth_authen}\0jane??X: y\0"), "{}", out.escape_ascii());
    }

    #[test]
    fn lists_are_read_with_and_without_braces() {
        let set = SymbolSet::parse(b"j,_ {daemon_name}\tclient_addr {nonsense} {i}");
        let names: Vec<_> = set.iter().map(Symbol::name).collect();
        assert_eq!(names, ["j", "_", "i", "{daemon_name}", "{client_addr}"]);
    }
}
