//! Commands parsed in place: one line without its CRLF in, a [`Command`] that borrows it out.
//!
//! The parser knows the grammar of RFC 5321 §4.1 and its extensions, and nothing else: whether a
//! command may come now is the server machine's business, whether a parameter's extension is offered
//! is [`Extensions::check_mail`](super::extensions::Extensions::check_mail)'s. Nothing is allocated.
//!
//! Leniencies, because the wire needs them: white space at the end of a line and after the colon of
//! `FROM:` and `TO:`. Neither makes two readings possible. A path without angle brackets is refused.

mod error;
mod parameters;
mod verb;
mod xclient;

pub use error::CommandError;
pub use parameters::{AuthParameter, By, Hold, MailArguments, OriginalRecipientRef, RcptArguments, Xtext};
pub use verb::Verb;
pub use xclient::{XclientArguments, XclientAttribute};

use crate::mail::address::{self, MailboxRef};
use crate::mail::{Domain, ForwardPath, ReversePath};

/// One command, borrowed from the receive buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// EHLO with a valid domain name or address literal.
    Ehlo(&'a str),
    /// HELO with a valid domain name or address literal.
    Helo(&'a str),
    /// LHLO of LMTP (RFC 2033), likewise.
    Lhlo(&'a str),
    /// MAIL.
    Mail(Mail<'a>),
    /// RCPT.
    Rcpt(Rcpt<'a>),
    /// DATA.
    Data,
    /// BDAT (RFC 3030): so many octets follow the line at once.
    Bdat {
        /// Octets of the chunk.
        size_bytes: u64,
        /// The last chunk of the message.
        is_last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP; its argument is of no interest.
    Noop,
    /// VRFY with what is to be verified: printable, never empty.
    Vrfy(&'a str),
    /// EXPN with what is to be expanded: printable, never empty.
    Expn(&'a str),
    /// HELP; its argument is of no interest.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954). Neither part has been looked into.
    Auth {
        /// The mechanism as the client spells it.
        mechanism: &'a str,
        /// The initial response, still base64 (`=` for an empty one).
        initial_response: Option<&'a [u8]>,
    },
    /// XCLIENT (Postfix): the attributes, each checked for syntax.
    Xclient(XclientArguments<'a>),
    /// A command that is known and never served: 502 5.5.1.
    NotImplemented(Verb),
}

/// MAIL (RFC 5321 §4.1.1.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Mail<'a> {
    /// The reverse-path; none for `<>`.
    pub path: Option<MailboxRef<'a>>,
    /// Its parameters.
    pub arguments: MailArguments<'a>,
}

/// RCPT (RFC 5321 §4.1.1.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Rcpt<'a> {
    /// The forward-path.
    pub path: MailboxRef<'a>,
    /// Its parameters.
    pub arguments: RcptArguments<'a>,
}

impl Mail<'_> {
    /// The reverse-path on its own.
    pub fn reverse_path(&self) -> ReversePath {
        self.path.map_or(ReversePath::Null, |mailbox| ReversePath::Mailbox(mailbox.to_mailbox()))
    }
}

impl Rcpt<'_> {
    /// The forward-path on its own.
    pub fn forward_path(&self) -> ForwardPath {
        ForwardPath(self.path.to_mailbox())
    }

    /// Refuses non-ASCII addresses in a transaction whose MAIL did not say SMTPUTF8 (RFC 6531 §3.4).
    pub fn check_smtputf8(&self, smtputf8: bool) -> Result<(), CommandError> {
        match self.arguments.original {
            _ if smtputf8 => Ok(()),
            _ if !self.path.is_ascii() => Err(CommandError::RecipientNeedsSmtpUtf8),
            Some(original) if !original.is_ascii() => Err(CommandError::BadParameter("ORCPT")),
            _ => Ok(()),
        }
    }
}

impl<'a> Command<'a> {
    /// Parses one line, given without its line end.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let (verb, arguments) = Verb::split(line)?;
        let arguments = trim(arguments);
        match verb {
            Verb::Mail => mail(arguments).map(Command::Mail),
            Verb::Rcpt => rcpt(arguments).map(Command::Rcpt),
            Verb::Data => bare(arguments, Command::Data),
            Verb::Bdat => bdat(arguments),
            Verb::Rset => bare(arguments, Command::Rset),
            Verb::Quit => bare(arguments, Command::Quit),
            Verb::StartTls => bare(arguments, Command::StartTls),
            Verb::Noop => Ok(Command::Noop),
            Verb::Help => Ok(Command::Help),
            Verb::Ehlo => client_name(arguments).map(Command::Ehlo),
            Verb::Helo => client_name(arguments).map(Command::Helo),
            Verb::Lhlo => client_name(arguments).map(Command::Lhlo),
            Verb::Vrfy => text(arguments, "VRFY address").map(Command::Vrfy),
            Verb::Expn => text(arguments, "EXPN list").map(Command::Expn),
            Verb::Auth => auth(arguments),
            Verb::Xclient => XclientArguments::parse(arguments).map(Command::Xclient),
            refused => Ok(Command::NotImplemented(refused)),
        }
    }

    /// The verb.
    pub fn verb(&self) -> Verb {
        match self {
            Command::Ehlo(_) => Verb::Ehlo,
            Command::Helo(_) => Verb::Helo,
            Command::Lhlo(_) => Verb::Lhlo,
            Command::Mail(_) => Verb::Mail,
            Command::Rcpt(_) => Verb::Rcpt,
            Command::Data => Verb::Data,
            Command::Bdat { .. } => Verb::Bdat,
            Command::Rset => Verb::Rset,
            Command::Noop => Verb::Noop,
            Command::Vrfy(_) => Verb::Vrfy,
            Command::Expn(_) => Verb::Expn,
            Command::Help => Verb::Help,
            Command::Quit => Verb::Quit,
            Command::StartTls => Verb::StartTls,
            Command::Auth { .. } => Verb::Auth,
            Command::Xclient(_) => Verb::Xclient,
            Command::NotImplemented(verb) => *verb,
        }
    }
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim(text: &[u8]) -> &[u8] {
    let mut text = trim_start(text);
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn bare<'a>(arguments: &[u8], command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if arguments.is_empty() { Ok(command) } else { Err(CommandError::Syntax("the command without arguments")) }
}

/// Printable text: UTF-8 without control characters.
fn text<'a>(arguments: &'a [u8], expected: &'static str) -> Result<&'a str, CommandError> {
    let text = std::str::from_utf8(arguments).map_err(|_| CommandError::Syntax(expected))?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(CommandError::Syntax(expected));
    }
    Ok(text)
}

fn client_name(arguments: &[u8]) -> Result<&str, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("EHLO domain");
    let name = std::str::from_utf8(arguments).map_err(|_| EXPECTED)?;
    Domain::check(name).map(|_| name).map_err(|_| EXPECTED)
}

fn mail(arguments: &[u8]) -> Result<Mail<'_>, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("MAIL FROM:<address> [parameters]");
    let arguments = after_keyword(arguments, b"FROM:").ok_or(EXPECTED)?;
    if let Some((path, rest)) = plain_path(arguments) {
        return Ok(Mail { path: Some(path), arguments: MailArguments::parse(rest)? });
    }
    let (path, rest) = split_path(arguments).ok_or(EXPECTED)?;
    // SMTPUTF8 comes after the path, so the path is read with it first.
    let path = address::reverse_path(path, true).map_err(CommandError::ReversePath)?;
    let arguments = MailArguments::parse(rest)?;
    if !arguments.smtputf8 && path.is_some_and(|mailbox| !mailbox.is_ascii()) {
        return Err(CommandError::SenderNeedsSmtpUtf8);
    }
    Ok(Mail { path, arguments })
}

fn rcpt(arguments: &[u8]) -> Result<Rcpt<'_>, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("RCPT TO:<address> [parameters]");
    let arguments = after_keyword(arguments, b"TO:").ok_or(EXPECTED)?;
    let (path, rest) = match plain_path(arguments) {
        Some(plain) => plain,
        None => {
            let (path, rest) = split_path(arguments).ok_or(EXPECTED)?;
            (address::forward_path(path, true).map_err(CommandError::ForwardPath)?, rest)
        }
    };
    Ok(Rcpt { path, arguments: RcptArguments::parse(rest)? })
}

/// What follows `FROM:` or `TO:`, from the path on.
fn after_keyword<'a>(arguments: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = arguments.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| trim_start(rest))
}

/// The commonest path and the parameters behind it, in one pass.
#[inline(always)]
fn plain_path(text: &[u8]) -> Option<(MailboxRef<'_>, &[u8])> {
    let (mailbox, rest) = MailboxRef::plain(text.strip_prefix(b"<")?)?;
    rest.first().is_none_or(|&b| is_blank(b)).then_some((mailbox, rest))
}

/// Splits `<path> parameters` into the path, however it is spelled, and the parameters.
fn split_path(text: &[u8]) -> Option<(&str, &[u8])> {
    let (path, parameters) = split_at_path_end(text)?;
    if parameters.first().is_some_and(|&b| !is_blank(b)) {
        return None;
    }
    // An octet that is no UTF-8 makes the path invalid, not the line: the address parser says so.
    Some((std::str::from_utf8(path).unwrap_or("<\u{0}>"), parameters))
}

/// Splits behind the `>` that ends the path (a quoted local-part may hold others). Without brackets the
/// first word is taken for the path, and the address parser refuses it by name.
fn split_at_path_end(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = match text.first()? {
        b'<' => {
            let close = memchr::memchr(b'>', text)?;
            match memchr::memchr(b'"', text.get(..close)?) {
                None => close + 1,
                Some(_) => unquoted(text).find(|&(_, b)| b == b'>')?.0 + 1,
            }
        }
        _ => text.iter().position(|&b| is_blank(b)).unwrap_or(text.len()),
    };
    text.split_at_checked(end)
}

/// The octets outside quoted strings, with their positions.
fn unquoted(text: &[u8]) -> impl Iterator<Item = (usize, u8)> + '_ {
    let (mut in_quotes, mut is_escaped) = (false, false);
    text.iter().copied().enumerate().filter(move |&(_, b)| {
        if is_escaped {
            is_escaped = false;
        } else if in_quotes && b == b'\\' {
            is_escaped = true;
        } else if b == b'"' {
            in_quotes = !in_quotes;
        } else {
            return !in_quotes;
        }
        false
    })
}

fn bdat(arguments: &[u8]) -> Result<Command<'_>, CommandError> {
    let mut words = arguments.split(|&b| is_blank(b)).filter(|word| !word.is_empty());
    let size_bytes = words.next().and_then(|word| number(word, 20)).ok_or(CommandError::Chunk)?;
    let is_last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(CommandError::Chunk),
    };
    if words.next().is_some() {
        return Err(CommandError::Chunk);
    }
    Ok(Command::Bdat { size_bytes, is_last })
}

fn auth(arguments: &[u8]) -> Result<Command<'_>, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("AUTH mechanism [initial-response]");
    let mut words = arguments.split(|&b| is_blank(b)).filter(|word| !word.is_empty());
    let mechanism = words.next().and_then(|word| std::str::from_utf8(word).ok()).ok_or(EXPECTED)?;
    // sasl-mech of RFC 4422 §3.1: upper case letters, digits, hyphen, underscore; at most 20.
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if mechanism.len() > 20 || !mechanism.bytes().all(is_name) {
        return Err(EXPECTED);
    }
    let initial_response = words.next();
    if words.next().is_some() {
        return Err(EXPECTED);
    }
    Ok(Command::Auth { mechanism, initial_response })
}

/// A decimal number of at most `digits_max` digits; nothing on overflow.
fn number(text: &[u8], digits_max: usize) -> Option<u64> {
    if text.is_empty() || text.len() > digits_max {
        return None;
    }
    let mut digits = text.iter().map(|b| u64::from(b.wrapping_sub(b'0')));
    match text.len() {
        ..20 => {
            // Nineteen digits fit.
            let (value, largest) =
                digits.fold((0u64, 0), |(value, largest), d| (value.wrapping_mul(10).wrapping_add(d), d.max(largest)));
            (largest < 10).then_some(value)
        }
        _ => digits.try_fold(0u64, |value, d| value.checked_mul(10)?.checked_add(d).filter(|_| d < 10)),
    }
}

#[cfg(test)]
mod tests;
