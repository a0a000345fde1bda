//! How one filter is to be treated: plain values, checked where the configuration is.

use std::time::Duration;

use super::negotiate::Offer;
use super::stage::Stages;
use crate::mail::Reply;

/// How long to wait for a filter. Values: the driver holds the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection and the negotiation.
    pub connect: Duration,
    /// For the reply to a command.
    pub command: Duration,
    /// For the reply to a part of the content, and for each sign of progress at its end.
    pub data: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts { connect: seconds(30), command: seconds(30), data: seconds(60) }
    }
}

/// What becomes of mail when a filter fails: it is unreachable, silent, gone or breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Mail goes on as if the filter were not there.
    Accept,
    /// 451.
    #[default]
    TempFail,
    /// 550.
    Reject,
}

impl OnFailure {
    /// What the client is told; nothing when its mail goes on.
    pub fn reply(self) -> Option<Reply> {
        match self {
            OnFailure::Accept => None,
            OnFailure::TempFail => Some(Reply::new(451, (4, 3, 5), "Unable to accept message at this time.")),
            OnFailure::Reject => Some(Reply::new(550, (5, 3, 5), "Unable to accept message.")),
        }
    }
}

/// The settings of one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What it is offered.
    pub offer: Offer,
    /// When it is asked; see [`Stages`].
    pub stages: Stages,
    /// How long it is waited for.
    pub timeouts: Timeouts,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Octets of all packets of one answer of it.
    pub response_bytes_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            offer: Offer::default(),
            stages: Stages::default(),
            timeouts: Timeouts::default(),
            on_failure: OnFailure::default(),
            response_bytes_max: 50 * 1024 * 1024,
        }
    }
}
