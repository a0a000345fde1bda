//! The verbs: one row each, found by comparing four octets at once.

use super::CommandError;

/// The first word of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Greeting of ESMTP.
    Ehlo,
    /// Greeting of SMTP.
    Helo,
    /// Greeting of LMTP.
    Lhlo,
    /// Starts a transaction.
    Mail,
    /// Adds a recipient.
    Rcpt,
    /// Sends the content.
    Data,
    /// Sends a chunk of the content.
    Bdat,
    /// Drops the transaction.
    Rset,
    /// Does nothing.
    Noop,
    /// Verifies an address.
    Vrfy,
    /// Expands a list.
    Expn,
    /// Explains.
    Help,
    /// Ends the session.
    Quit,
    /// Starts TLS.
    StartTls,
    /// Authenticates.
    Auth,
    /// Overrides facts about the client; for trusted proxies.
    Xclient,
    /// Never served (RFC 5321 appendix F.1).
    Turn,
    /// Never served (RFC 1985).
    Etrn,
    /// Never served (RFC 2645).
    Atrn,
    /// Never served (RFC 4468).
    Burl,
    /// Never served (RFC 5321 appendix F.6).
    Send,
    /// Never served (RFC 5321 appendix F.6).
    Soml,
    /// Never served (RFC 5321 appendix F.6).
    Saml,
    /// Never served (Postfix).
    Xforward,
}

/// Four letters as one number, upper case.
const fn key(name: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*name)
}

impl Verb {
    /// Splits a line into its verb and the rest after it.
    #[inline]
    pub(super) fn split(line: &[u8]) -> Result<(Verb, &[u8]), CommandError> {
        let (head, rest) = line.split_first_chunk::<4>().ok_or_else(|| unknown(line))?;
        // Clearing bit 5 turns letters to upper case and never turns another octet into a letter.
        let (verb, tail): (Verb, &[u8]) = match u32::from_be_bytes(*head) & 0xDFDF_DFDF {
            k if k == key(b"MAIL") => (Verb::Mail, b""),
            k if k == key(b"RCPT") => (Verb::Rcpt, b""),
            k if k == key(b"DATA") => (Verb::Data, b""),
            k if k == key(b"BDAT") => (Verb::Bdat, b""),
            k if k == key(b"RSET") => (Verb::Rset, b""),
            k if k == key(b"NOOP") => (Verb::Noop, b""),
            k if k == key(b"QUIT") => (Verb::Quit, b""),
            k if k == key(b"EHLO") => (Verb::Ehlo, b""),
            k if k == key(b"HELO") => (Verb::Helo, b""),
            k if k == key(b"LHLO") => (Verb::Lhlo, b""),
            k if k == key(b"STAR") => (Verb::StartTls, b"TTLS"),
            k if k == key(b"AUTH") => (Verb::Auth, b""),
            k if k == key(b"VRFY") => (Verb::Vrfy, b""),
            k if k == key(b"EXPN") => (Verb::Expn, b""),
            k if k == key(b"HELP") => (Verb::Help, b""),
            k if k == key(b"XCLI") => (Verb::Xclient, b"ENT"),
            k if k == key(b"XFOR") => (Verb::Xforward, b"WARD"),
            k if k == key(b"TURN") => (Verb::Turn, b""),
            k if k == key(b"ETRN") => (Verb::Etrn, b""),
            k if k == key(b"ATRN") => (Verb::Atrn, b""),
            k if k == key(b"BURL") => (Verb::Burl, b""),
            k if k == key(b"SEND") => (Verb::Send, b""),
            k if k == key(b"SOML") => (Verb::Soml, b""),
            k if k == key(b"SAML") => (Verb::Saml, b""),
            _ => return Err(unknown(line)),
        };
        let (word, arguments) = rest.split_at_checked(tail.len()).ok_or(CommandError::UnknownVerb)?;
        let ends = matches!(arguments, [] | [b' ' | b'\t', ..]);
        if ends && word.eq_ignore_ascii_case(tail) { Ok((verb, arguments)) } else { Err(CommandError::UnknownVerb) }
    }

    /// The verb of a line, also of one whose arguments are wrong.
    pub fn of(line: &[u8]) -> Option<Verb> {
        Verb::split(line).ok().map(|(verb, _)| verb)
    }

    /// The verb as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Ehlo => "EHLO",
            Verb::Helo => "HELO",
            Verb::Lhlo => "LHLO",
            Verb::Mail => "MAIL",
            Verb::Rcpt => "RCPT",
            Verb::Data => "DATA",
            Verb::Bdat => "BDAT",
            Verb::Rset => "RSET",
            Verb::Noop => "NOOP",
            Verb::Vrfy => "VRFY",
            Verb::Expn => "EXPN",
            Verb::Help => "HELP",
            Verb::Quit => "QUIT",
            Verb::StartTls => "STARTTLS",
            Verb::Auth => "AUTH",
            Verb::Xclient => "XCLIENT",
            Verb::Turn => "TURN",
            Verb::Etrn => "ETRN",
            Verb::Atrn => "ATRN",
            Verb::Burl => "BURL",
            Verb::Send => "SEND",
            Verb::Soml => "SOML",
            Verb::Saml => "SAML",
            Verb::Xforward => "XFORWARD",
        }
    }
}

/// What a line without a known verb is: a web client (or TLS, or noise) is not talked to at all,
/// lest someone's browser is made to speak SMTP (ALPACA, Postfix `smtpd_forbidden_commands`).
#[cold]
fn unknown(line: &[u8]) -> CommandError {
    const WEB: [&[u8]; 8] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"PRI "];
    let is_web = WEB.iter().any(|word| line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
    match line.first() {
        None => CommandError::UnknownVerb,
        Some(first) if is_web || !first.is_ascii_alphabetic() => CommandError::WrongProtocol,
        Some(_) => CommandError::UnknownVerb,
    }
}
