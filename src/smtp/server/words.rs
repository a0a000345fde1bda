//! What the server says: every reply of the machine in one place (RFC 5321 §4.2, RFC 3463, RFC 5248).
//!
//! Codes are settled in the reply catalogue of the design; a test snapshots them all, so that no
//! code changes unseen.

use crate::mail::Reply;

/// 221 to QUIT.
pub fn bye() -> Reply {
    Reply::new(221, (2, 0, 0), "Bye.")
}

/// 250 to RSET and NOOP.
pub fn ok() -> Reply {
    Reply::new(250, (2, 0, 0), "OK")
}

/// 250 to MAIL.
pub fn mail_ok() -> Reply {
    Reply::new(250, (2, 1, 0), "OK")
}

/// 250 to RCPT.
pub fn rcpt_ok() -> Reply {
    Reply::new(250, (2, 1, 5), "OK")
}

/// 354 to DATA.
pub fn start_mail_input() -> Reply {
    Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>")
}

/// 250 to a BDAT that is not the last: it promises nothing (RFC 3030 §2).
pub fn chunk_ok(octets: u64) -> Reply {
    Reply::new(250, (2, 6, 0), format!("{octets} octets received."))
}

/// 250 to a message that a rule threw away: the peer need not know.
pub fn queued_for_delivery() -> Reply {
    Reply::new(250, (2, 0, 0), "Message queued for delivery.")
}

/// 250 to a message that is on stable storage.
pub fn queued(id: impl std::fmt::Display) -> Reply {
    Reply::new(250, (2, 0, 0), format!("Message queued with id {id}."))
}

/// 220 to STARTTLS.
pub fn ready_for_tls() -> Reply {
    Reply::new(220, (2, 0, 0), "Ready to start TLS.")
}

/// 214 to HELP.
pub fn help() -> Reply {
    Reply::plain(214, "EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP STARTTLS QUIT\nSee RFC 5321.")
}

/// 252 to VRFY that is switched off.
pub fn vrfy_disabled() -> Reply {
    Reply::new(252, (2, 5, 1), "VRFY is disabled.")
}

/// 502 to EXPN that is switched off.
pub fn expn_disabled() -> Reply {
    Reply::new(502, (5, 5, 1), "EXPN is disabled.")
}

/// 252 when a directory cannot tell.
pub fn cannot_verify() -> Reply {
    Reply::new(252, (2, 5, 0), "Cannot VRFY user, but will accept message and attempt delivery.")
}

/// 500 to what is no command.
pub fn unknown_command() -> Reply {
    Reply::new(500, (5, 5, 1), "Invalid command.")
}

/// 500 to a line that cannot be one.
pub fn line_too_long() -> Reply {
    Reply::new(500, (5, 5, 2), "Line is too long.")
}

/// 500 to HELO and EHLO on LMTP (RFC 2033 §4.1).
pub fn lhlo_expected() -> Reply {
    Reply::new(500, (5, 5, 1), "Invalid command: LHLO expected.")
}

/// 500 to LHLO on SMTP.
pub fn ehlo_expected() -> Reply {
    Reply::new(500, (5, 5, 1), "Invalid command: EHLO expected.")
}

/// 501 to arguments that break a command's syntax.
pub fn syntax(expected: &'static str) -> Reply {
    Reply::new(501, (5, 5, 2), format!("Syntax error, expected: {expected}"))
}

/// 502 to a command that is known and not offered.
pub fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented.")
}

/// 502 to STARTTLS where there is no certificate.
pub fn tls_unavailable() -> Reply {
    Reply::new(502, (5, 7, 0), "TLS not available.")
}

/// 503 to STARTTLS inside TLS.
pub fn already_tls() -> Reply {
    Reply::new(503, (5, 5, 1), "Already in TLS mode.")
}

/// 503 to STARTTLS inside a transaction.
pub fn tls_in_transaction() -> Reply {
    Reply::new(503, (5, 5, 1), "STARTTLS not allowed during a mail transaction.")
}

/// 503 to AUTH.
pub fn auth_not_allowed() -> Reply {
    Reply::new(503, (5, 5, 1), "AUTH not allowed.")
}

/// 503 before EHLO.
pub fn ehlo_first() -> Reply {
    Reply::new(503, (5, 5, 1), "Polite people say EHLO first.")
}

/// 503 to a second MAIL.
pub fn nested_mail() -> Reply {
    Reply::new(503, (5, 5, 1), "Multiple MAIL commands not allowed.")
}

/// 503 without MAIL.
pub fn mail_first() -> Reply {
    Reply::new(503, (5, 5, 1), "MAIL is required first.")
}

/// 503 without RCPT.
pub fn rcpt_first() -> Reply {
    Reply::new(503, (5, 5, 1), "RCPT is required first.")
}

/// 503 to DATA, RCPT or MAIL between chunks (RFC 3030 §2).
pub fn bdat_under_way() -> Reply {
    Reply::new(503, (5, 5, 1), "BDAT is under way: BDAT or RSET expected.")
}

/// 503 to DATA after BODY=BINARYMIME (RFC 3030 §3).
pub fn binary_needs_bdat() -> Reply {
    Reply::new(503, (5, 5, 1), "BODY=BINARYMIME needs BDAT.")
}

/// 452 to one recipient too many (RFC 5321 §4.5.3.1.10, RFC 9422).
pub fn too_many_recipients() -> Reply {
    Reply::new(452, (4, 5, 3), "Too many recipients.")
}

/// 452 to one message too many for this session.
pub fn too_many_messages() -> Reply {
    Reply::new(452, (4, 4, 5), "Maximum number of messages per session exceeded.")
}

/// 452 when the disk, the memory budget or the reserve is used up.
pub fn system_full() -> Reply {
    Reply::new(452, (4, 3, 1), "Mail system full, try again later.")
}

/// 451 when the spool cannot take the message.
pub fn cannot_accept() -> Reply {
    Reply::new(451, (4, 3, 0), "Unable to accept message at this time.")
}

/// 552 to a message over the size limit.
pub fn too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Message too big for system.")
}

/// 552 to a header section over its bound.
pub fn header_too_big() -> Reply {
    Reply::new(552, (5, 3, 4), "Header section too big for system.")
}

/// 550 to content with a bare CR, a bare LF or NUL.
pub fn bare_line_end() -> Reply {
    Reply::new(550, (5, 6, 11), "Message contains a bare CR, a bare LF or NUL.")
}

/// 421 after too many errors.
pub fn too_many_errors() -> Reply {
    Reply::new(421, (4, 7, 0), "Too many errors, disconnecting.")
}

/// 421 after too many commands that move no mail.
pub fn too_many_commands() -> Reply {
    Reply::new(421, (4, 7, 0), "Too many commands without mail, disconnecting.")
}

/// 421 when the server stops.
pub fn shutting_down() -> Reply {
    Reply::new(421, (4, 3, 0), "Server shutting down.")
}

/// 421 to a client that says nothing.
pub fn idle() -> Reply {
    Reply::new(421, (4, 4, 2), "Disconnecting inactive client.")
}

/// 421 to a client that is too slow.
pub fn too_slow() -> Reply {
    Reply::new(421, (4, 4, 2), "Transfer too slow, disconnecting.")
}

/// 421 when the session's time is up.
pub fn too_long_open() -> Reply {
    Reply::new(421, (4, 3, 2), "Session open for too long.")
}

/// 452 when the session's octets are used up; the session ends.
pub fn transfer_exceeded() -> Reply {
    Reply::new(452, (4, 7, 28), "Session exceeded transfer quota.")
}

/// 502 to a web browser or another protocol; the session ends.
pub fn not_this_protocol() -> Reply {
    Reply::new(502, (5, 7, 0), "This is a mail server.")
}

/// 550 to XCLIENT from a peer that may not say it.
pub fn xclient_refused() -> Reply {
    Reply::new(550, (5, 7, 0), "XCLIENT not allowed.")
}

/// 503 to XCLIENT inside a transaction.
pub fn xclient_in_transaction() -> Reply {
    Reply::new(503, (5, 5, 1), "XCLIENT not allowed during a mail transaction.")
}
