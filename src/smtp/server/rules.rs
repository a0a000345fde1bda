//! The bounds of one session's dialogue, and its counts against them.

use std::time::Duration;

use crate::smtp::content::BareLineEnds;
use crate::smtp::line::BareLf;

/// Bounds of the dialogue, as policy gives them with the answer to connect and to EHLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// MAIL needs a greeting first.
    pub ehlo_required: bool,
    /// Errors since the last accepted message before 421.
    pub errors_max: u32,
    /// Commands that move no mail (NOOP, RSET, VRFY …) since the last accepted message before 421.
    pub idle_commands_max: u32,
    /// Refused recipients of one session before 421.
    pub rcpt_errors_max: u32,
    /// How long a refused recipient makes the client wait.
    pub rcpt_errors_wait: Duration,
    /// What an LF without CR means in a command line.
    pub bare_lf: BareLf,
    /// What a CR without LF, or an LF without CR, means in content.
    pub bare_line_ends: BareLineEnds,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            ehlo_required: true,
            errors_max: 20,
            idle_commands_max: 100,
            rcpt_errors_max: 5,
            rcpt_errors_wait: Duration::from_secs(5),
            bare_lf: BareLf::Refuse,
            bare_line_ends: BareLineEnds::Reject,
        }
    }
}

/// What has been counted in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Command lines.
    pub commands: u64,
    /// Errors since the last accepted message.
    pub errors: u32,
    /// Idle commands since the last accepted message.
    pub idle_commands: u32,
    /// Refused recipients.
    pub rcpt_errors: u32,
    /// Transactions whose content was complete.
    pub messages: u32,
    /// Messages refused for their octets: too big, a bare line end, too long a header section.
    pub content_refused: u32,
    /// Of those, messages with a bare CR or LF.
    pub bare_line_ends: u32,
    /// The client said QUIT.
    pub has_quit: bool,
    /// Messages handed over to be committed.
    pub accepted: u32,
}

impl Counts {
    /// Counts an idle command; true when it is one too many.
    pub(super) fn idle(&mut self, max: u32) -> bool {
        self.idle_commands += 1;
        self.idle_commands > max
    }

    /// A message was accepted: a client that brings mail is forgiven its errors.
    pub(super) fn forgive(&mut self) {
        self.accepted += 1;
        self.errors = 0;
        self.idle_commands = 0;
    }
}
