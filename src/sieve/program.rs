//! The compiled form: a flat list of operations with jumps, and the tests and commands they name.
//!
//! A test leaves its result in a flag; `anyof`, `allof` and `if` are jumps on it. Nothing in a program
//! changes when it runs, so that every shard may use the same one.

use compact_str::CompactString;
use regex::bytes::Regex;

use super::comparator::Comparator;
use super::expressions::Expression;
use super::glob::Glob;
use super::mime::program::{BodyTest, ConvertCommand, EncloseCommand, ExtractCommand, MimeTest, ReplaceCommand};

/// A compiled script: immutable, `Send + Sync`.
///
/// Shards may share one. A clone has its own match caches, so that shards which use `:regex` share
/// nothing at all: give each its own.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) ops: Box<[Op]>,
    /// The line of each operation, for errors.
    pub(super) lines: Box<[u32]>,
    pub(super) tests: Box<[Test]>,
    pub(super) commands: Box<[Command]>,
    pub(super) regexes: Box<[Regex]>,
    /// Local variables: how many.
    pub(super) locals: u16,
    /// Global variables by their names, in lower case.
    pub(super) globals: Box<[CompactString]>,
    /// Something reads `${1}`: matches remember what they matched.
    pub(super) uses_captures: bool,
}

impl Program {
    /// The scripts that this one includes: name, whether `:global`, whether `:optional`. A host that has them
    /// all compiled beforehand answers at once.
    pub fn includes(&self) -> impl Iterator<Item = (&str, bool, bool)> {
        self.commands.iter().filter_map(|command| match command {
            Command::Include { name, is_global, is_optional, .. } => Some((name.as_str(), *is_global, *is_optional)),
            _ => None,
        })
    }
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Program>();
};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    /// Runs a test: the flag is its result.
    Test(u32),
    /// The flag becomes a constant.
    Known(bool),
    Not,
    Jump(u32),
    JumpIf(u32),
    JumpUnless(u32),
    /// Runs a command.
    Act(u32),
    /// Begins a loop over the parts of the message, or of the part that is at hand.
    EnterParts,
    /// Goes to the next part, or ends the loop and jumps.
    NextPart(u32),
    /// Ends so many loops.
    LeaveParts(u32),
    /// Leaves the script and every script that included it.
    Stop,
    /// Leaves the script; its end.
    Return,
}

/// A string of the script.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    Literal(Box<[u8]>),
    Template(Box<[Piece]>),
}

/// A part of a string with variables.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Literal(Box<[u8]>),
    Variable(Slot),
    /// `${1}`
    Capture(u8),
    /// `${env.name}`, `${environment.name}`
    Environment(CompactString),
    /// `${envelope.from}`
    Envelope(EnvelopePart),
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Local(u16),
    /// Of [`Program::globals`].
    Global(u16),
}

pub(super) type Texts = Box<[Text]>;

/// The relation of `:count` and `:value` (RFC 5231 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Gt,
    Ge,
    Lt,
    Le,
    Eq,
    Ne,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MatchType {
    Is,
    Contains,
    Matches,
    Regex,
    List,
    Count(Relation),
    Value(Relation),
}

/// Match type, comparator and keys.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub kind: MatchType,
    pub comparator: Comparator,
    pub keys: Box<[Key]>,
}

/// A key with what can be prepared of it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub text: Text,
    pub prepared: Prepared,
}

#[derive(Debug, Clone)]
pub(super) enum Prepared {
    /// Nothing: compared as it is, or known only when it runs.
    Plain,
    Glob(Glob),
    /// Of [`Program::regexes`].
    Regex(u32),
}

/// The part of an address that is compared (RFC 5228 §2.7.4, RFC 5233).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressPart {
    All,
    LocalPart,
    Domain,
    User,
    Detail,
}

/// A part of the envelope (RFC 5228 §5.4, RFC 6009 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopePart {
    /// The reverse-path.
    From,
    /// The recipients.
    To,
    /// The recipient as its ORCPT gives it, or as RCPT did.
    OrigTo,
    /// The identity that authenticated.
    Auth,
    /// NOTIFY of the recipients.
    Notify,
    /// ORCPT of the recipients.
    Orcpt,
    /// RET.
    Ret,
    /// ENVID.
    Envid,
    /// The deadline of BY.
    ByTimeAbsolute,
    /// The seconds that remain to the deadline of BY.
    ByTimeRelative,
    /// The mode of BY.
    ByMode,
    /// The trace flag of BY.
    ByTrace,
}

/// `:index` and `:last` (RFC 5260 §6): one occurrence of a field, from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub index: usize,
    pub is_from_last: bool,
}

/// A part of a date (RFC 5260 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatePart {
    Year,
    Month,
    Day,
    Date,
    Julian,
    Hour,
    Minute,
    Second,
    Time,
    Iso8601,
    Std11,
    Zone,
    Weekday,
}

/// The zone in which a date is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Zone {
    /// Of the host.
    Local,
    /// Of the date.
    Original,
    /// `:zone "+0200"`.
    Given(Text),
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    Body(Box<BodyTest>),
    Mime(Box<MimeTest>),
    Convert(Box<ConvertCommand>),
    Address { headers: Texts, part: AddressPart, matcher: Matcher, occurrence: Option<Occurrence> },
    Envelope { parts: Box<[EnvelopePart]>, part: AddressPart, matcher: Matcher },
    Exists(Texts),
    Header { headers: Texts, matcher: Matcher, occurrence: Option<Occurrence> },
    Size { is_over: bool, limit: u64 },
    String { sources: Texts, matcher: Matcher },
    Environment { name: Text, matcher: Matcher },
    Date(Box<DateTest>),
    HasFlag { is_internal: bool, slots: Box<[Slot]>, matcher: Matcher },
    Score { kind: ScoreKind, matcher: Matcher },
    Duplicate(Box<DuplicateTest>),
    MailboxExists(Texts),
    MailboxIdExists(Texts),
    SpecialUseExists { mailbox: Option<Text>, attributes: Texts },
    ValidNotifyMethod(Texts),
    NotifyMethodCapability { method: Text, capability: Text, matcher: Matcher },
    ValidExtList(Texts),
    Eval(Box<Expression>),
    Host(Box<HostCall>),
}

#[derive(Debug, Clone)]
pub(super) struct DateTest {
    /// None is the current date.
    pub header: Option<Text>,
    pub part: DatePart,
    pub zone: Zone,
    pub matcher: Matcher,
    pub occurrence: Option<Occurrence>,
}

/// What `spamtest` and `virustest` compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScoreKind {
    /// `spamtest`: 0 to 10.
    Spam,
    /// `spamtest :percent`: 0 to 100.
    SpamPercent,
    /// `virustest`: 0 to 5.
    Virus,
}

#[derive(Debug, Clone)]
pub(super) struct DuplicateTest {
    pub unique: Unique,
    pub handle: Option<Text>,
    pub seconds: Option<u64>,
    pub is_last: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Unique {
    MessageId,
    Header(Text),
    Id(Text),
}

/// A command or test that the host adds to the language.
#[derive(Debug, Clone)]
pub(super) struct HostCall {
    pub name: &'static str,
    pub tags: Box<[(&'static str, Option<HostArgument>)]>,
    pub arguments: Box<[HostArgument]>,
    /// The host answers with values, and these keys are matched with them.
    pub matcher: Option<Matcher>,
}

#[derive(Debug, Clone)]
pub(super) enum HostArgument {
    Number(u64),
    Text(Text),
    List(Texts),
}

#[derive(Debug, Clone)]
pub(super) enum Command {
    Keep { flags: Option<Texts> },
    Discard,
    Redirect(Box<RedirectCommand>),
    FileInto(Box<FileIntoCommand>),
    Reject { reason: Text, is_ereject: bool },
    Set { slot: SetTarget, modifiers: Box<[Modifier]>, value: Text },
    AddHeader { name: Text, value: Text, is_last: bool },
    DeleteHeader { name: Text, occurrence: Option<Occurrence>, matcher: Option<Matcher> },
    Flags { verb: FlagVerb, slot: Option<Slot>, flags: Texts },
    Notify(Box<NotifyCommand>),
    Vacation(Box<VacationCommand>),
    Include { name: CompactString, is_global: bool, is_once: bool, is_optional: bool },
    Replace(Box<ReplaceCommand>),
    Enclose(Box<EncloseCommand>),
    ExtractText(Box<ExtractCommand>),
    Convert(Box<ConvertCommand>),
    Error(Text),
    Let { slot: Slot, expression: Box<Expression> },
    Eval(Box<Expression>),
    Host(Box<HostCall>),
}

#[derive(Debug, Clone)]
pub(super) struct RedirectCommand {
    pub address: Text,
    pub is_list: bool,
    pub is_copy: bool,
    pub notify: Option<Text>,
    pub ret: Option<Text>,
    pub by: Option<By>,
    pub by_mode: Option<Text>,
    pub is_by_trace: bool,
}

#[derive(Debug, Clone)]
pub(super) enum By {
    /// Seconds from now.
    Relative(u64),
    /// A date of RFC 3339.
    Absolute(Text),
}

#[derive(Debug, Clone)]
pub(super) struct FileIntoCommand {
    pub mailbox: Text,
    pub is_copy: bool,
    pub is_create: bool,
    pub flags: Option<Texts>,
    pub mailbox_id: Option<Text>,
    pub special_use: Option<Text>,
}

#[derive(Debug, Clone)]
pub(super) struct NotifyCommand {
    pub method: Text,
    pub from: Option<Text>,
    pub importance: Option<Text>,
    pub options: Texts,
    pub message: Option<Text>,
}

#[derive(Debug, Clone)]
pub(super) struct VacationCommand {
    pub reason: Text,
    pub seconds: Option<u64>,
    pub subject: Option<Text>,
    pub from: Option<Text>,
    pub addresses: Texts,
    pub is_mime: bool,
    /// What tells this response from others; by default its own text (RFC 5230 §4.2).
    pub handle: Option<Text>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetTarget {
    Slot(Slot),
    /// `set "envelope.from"`
    Envelope(EnvelopePart),
}

/// A modifier of `set`, in the order of their precedence (RFC 5229 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    Lower,
    Upper,
    LowerFirst,
    UpperFirst,
    QuoteWildcard,
    QuoteRegex,
    EncodeUrl,
    Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagVerb {
    Set,
    Add,
    Remove,
}

impl Relation {
    pub fn from_name(name: &[u8]) -> Option<Relation> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"gt" => Relation::Gt,
            b"ge" => Relation::Ge,
            b"lt" => Relation::Lt,
            b"le" => Relation::Le,
            b"eq" => Relation::Eq,
            b"ne" => Relation::Ne,
            _ => return None,
        })
    }

    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Relation::Gt => order.is_gt(),
            Relation::Ge => order.is_ge(),
            Relation::Lt => order.is_lt(),
            Relation::Le => order.is_le(),
            Relation::Eq => order.is_eq(),
            Relation::Ne => order.is_ne(),
        }
    }
}

impl EnvelopePart {
    /// The part of that name, whatever its case, and the extension it belongs to.
    pub(super) fn from_name(name: &[u8]) -> Option<(EnvelopePart, super::Capability)> {
        use super::Capability::{Envelope, EnvelopeDeliverby as Deliverby, EnvelopeDsn as Dsn};
        Some(match name.to_ascii_lowercase().as_slice() {
            b"from" => (EnvelopePart::From, Envelope),
            b"to" => (EnvelopePart::To, Envelope),
            b"orig_to" => (EnvelopePart::OrigTo, Envelope),
            b"auth" => (EnvelopePart::Auth, Envelope),
            b"notify" => (EnvelopePart::Notify, Dsn),
            b"orcpt" => (EnvelopePart::Orcpt, Dsn),
            b"ret" => (EnvelopePart::Ret, Dsn),
            b"envid" => (EnvelopePart::Envid, Dsn),
            b"bytimeabsolute" => (EnvelopePart::ByTimeAbsolute, Deliverby),
            b"bytimerelative" => (EnvelopePart::ByTimeRelative, Deliverby),
            b"bymode" | b"by_mode" => (EnvelopePart::ByMode, Deliverby),
            b"bytrace" | b"by_trace" => (EnvelopePart::ByTrace, Deliverby),
            _ => return None,
        })
    }

    /// Addresses: what an address part may be taken of.
    pub(super) fn is_address(self) -> bool {
        matches!(self, EnvelopePart::From | EnvelopePart::To | EnvelopePart::OrigTo)
    }
}

impl DatePart {
    pub fn from_name(name: &[u8]) -> Option<DatePart> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"year" => DatePart::Year,
            b"month" => DatePart::Month,
            b"day" => DatePart::Day,
            b"date" => DatePart::Date,
            b"julian" => DatePart::Julian,
            b"hour" => DatePart::Hour,
            b"minute" => DatePart::Minute,
            b"second" => DatePart::Second,
            b"time" => DatePart::Time,
            b"iso8601" => DatePart::Iso8601,
            b"std11" => DatePart::Std11,
            b"zone" => DatePart::Zone,
            b"weekday" => DatePart::Weekday,
            _ => return None,
        })
    }
}
