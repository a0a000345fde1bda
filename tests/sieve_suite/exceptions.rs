//! Tests that ask for something else than the RFCs do, each with its reason.

const NUMBER_OF_ERRORS: &str = "the RFCs do not say how many faults follow from one: the same faults are told, \
     but an unknown name is not told on top of arguments that cannot be read";
const MISSING: &str = "the scripts that it names are not in the suite";
const ENVELOPE_FROM: &str =
    "a setting of that server: which reverse-path a redirected message gets is the host's to say";
const LOOP: &str = "that server's own field against loops; here a limit on Received fields ends them (RFC 5321 §6.3)";
const SETTING: &str = "a setting of that server which no RFC knows";
const OWN_FIELD: &str = "a field of that server's own, X-Sieve";
const WIRE: &str = "paths come parsed from SMTP: one that breaks the grammar is refused there and never gets here";
const CRASHED: &str = "what crashed that server once: it is meant to fail, and does";

/// File, test (`*` for all of it, unseen), reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("compile/errors.svtest", "Parser errors (FIXME: count only)", NUMBER_OF_ERRORS),
    ("extensions/relational/errors.svtest", "Syntax errors", NUMBER_OF_ERRORS),
    ("extensions/include/errors.svtest", "Generic", NUMBER_OF_ERRORS),
    ("execute/examples.svtest", "*", MISSING),
    ("extensions/imap4flags/multiscript.svtest", "*", MISSING),
    ("execute/smtp.svtest", "Redirect from [recipient]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect from [original recipient]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect from [<explicit>]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect from [<>]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect from [user email - fallback default]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect from [user email]", ENVELOPE_FROM),
    ("execute/smtp.svtest", "Redirect mail loop (sieve_user_email)", LOOP),
    ("execute/smtp.svtest", "Redirect mail loop (final recipient)", LOOP),
    ("extensions/editheader/protected.svtest", "Configured protected", SETTING),
    ("extensions/editheader/protected.svtest", "Configured forbid_add/forbid_delete", SETTING),
    ("extensions/enotify/limits.svtest", "Notify prohibited", SETTING),
    ("extensions/enotify/limits.svtest", "Notify prohibited after reload", SETTING),
    ("extensions/envelope.svtest", "Envelope - invalid paths", WIRE),
    ("extensions/envelope.svtest", "Envelope - syntax errors", WIRE),
    ("extensions/envelope.svtest", "Envelope - source route errors", WIRE),
    ("extensions/enotify/mailto.svtest", "Simple", OWN_FIELD),
    ("extensions/enotify/mailto.svtest", "Envelope config - sender", ENVELOPE_FROM),
    ("extensions/enotify/mailto.svtest", "Envelope config - recipient", ENVELOPE_FROM),
    ("extensions/enotify/mailto.svtest", "Envelope config - user_email", ENVELOPE_FROM),
    (
        "extensions/enotify/mailto.svtest",
        "UTF-8 address",
        "a letter names the addresses of the URI without phrases: RFC 5436 §2.6 asks for no more",
    ),
    (
        "extensions/mime/errors.svtest",
        "Extracttext - without foreverypart",
        "RFC 5703 §7 does not say that requiring one extension without the other is a fault; using it is",
    ),
    ("extensions/vacation/message.svtest", "Subject - configured, no subject", SETTING),
    ("extensions/vacation/message.svtest", "Subject - configured, full variable", SETTING),
    ("extensions/vacation/message.svtest", "Send from recipient", SETTING),
    ("extensions/vacation/message.svtest", "Reply to (ignored envelope)", SETTING),
    ("extensions/vacation/reply.svtest", "Reply for original recipient", SETTING),
    ("extensions/vacation/reply.svtest", "Reply for user's explicitly configured email address", SETTING),
    ("extensions/vacation/reply.svtest", "Reply for any recipient", SETTING),
    (
        "extensions/extlists/errors.svtest",
        "Compile errors",
        "the script is sound: that server has neither these lists nor 'redirect :list' (RFC 6134 §2.4)",
    ),
    (
        "extensions/regex/errors.svtest",
        "Runtime errors",
        "a pattern made of variables is compiled when a value meets it; the message has no value",
    ),
    (
        "execute/errors-cpu-limit.svtest",
        "*",
        "it limits the time of a matcher that goes back; ours takes linear time, and steps are limited",
    ),
    ("failures/fuzz1.svtest", "*", CRASHED),
    ("failures/fuzz2.svtest", "*", CRASHED),
    ("failures/fuzz4.svtest", "*", CRASHED),
];

/// Nothing of the file is expected.
pub fn is_whole_file(file: &str) -> bool {
    EXCEPTIONS.iter().any(|(f, t, _)| *f == file && *t == "*")
}

/// Why a test may fail.
pub fn reason(file: &str, test: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(f, t, _)| *f == file && *t == test).map(|(_, _, reason)| *reason)
}
