//! The envelope: reverse-path, recipients and what MAIL and RCPT said about them.

use compact_str::CompactString;

use super::address::{ForwardPath, ReversePath};
use crate::base::WallTime;

/// Everything of a message that is not content (RFC 5321 §2.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where failures are reported; null for reports themselves.
    pub reverse_path: ReversePath,
    /// The parameters of MAIL.
    pub mail: MailParameters,
    /// The accepted recipients, in the order of their RCPTs.
    pub recipients: Vec<Recipient>,
}

/// The declared type of the content (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    /// BODY=7BIT, or no BODY at all.
    #[default]
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
    /// BODY=BINARYMIME: only by BDAT.
    BinaryMime,
}

/// What a DSN returns of the message (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// RET=FULL: the whole message.
    Full,
    /// RET=HDRS: its header section.
    Headers,
}

/// What happens when a DELIVERBY deadline passes (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverByMode {
    /// R: the recipient fails.
    Return,
    /// N: a delay is reported and delivery goes on.
    Notify,
}

/// The BY parameter with its deadline made absolute at reception (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// When the time that the sender gave is over.
    pub deadline: WallTime,
    /// What happens then.
    pub mode: DeliverByMode,
    /// T: relaying is reported.
    pub trace: bool,
}

/// The parameters of MAIL that outlive the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// SIZE as declared, in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY.
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, decoded from xtext: printable US-ASCII only.
    pub envid: Option<CompactString>,
    /// MT-PRIORITY, -9 to 9; zero when it was not given (RFC 6710).
    pub priority: i8,
    /// HOLDFOR or HOLDUNTIL: no attempt before this time (RFC 4865).
    pub hold_until: Option<WallTime>,
    /// BY.
    pub deliver_by: Option<DeliverBy>,
    /// SOLICIT keywords as they were given (RFC 3865).
    pub solicit: Option<CompactString>,
}

/// NOTIFY (RFC 3461 §4.1). `None` of [`Recipient::notify`] means that it was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

impl Notify {
    /// NOTIFY=NEVER.
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };

    /// What holds when NOTIFY was not given: failures and delays are reported.
    pub const UNSPECIFIED: Notify = Notify { success: false, failure: true, delay: true };

    /// NOTIFY=NEVER was given.
    pub fn is_never(self) -> bool {
        self == Notify::NEVER
    }
}

/// ORCPT, decoded (RFC 3461 §4.2, RFC 6533 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// The address type, lower case: `rfc822`, `utf-8` or another.
    pub kind: CompactString,
    /// The address, decoded: no control characters.
    pub address: CompactString,
}

/// One accepted recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub path: ForwardPath,
    /// NOTIFY as it was given.
    pub notify: Option<Notify>,
    /// ORCPT as it was given.
    pub original: Option<OriginalRecipient>,
}

impl Recipient {
    /// A recipient without parameters.
    pub fn new(path: ForwardPath) -> Self {
        Recipient { path, notify: None, original: None }
    }

    /// What is to be reported, given or implied.
    pub fn notify_effective(&self) -> Notify {
        self.notify.unwrap_or(Notify::UNSPECIFIED)
    }
}
