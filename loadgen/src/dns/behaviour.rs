//! What the name server does wrong on purpose, and when. Pure: chance comes from a seed.

use std::str::FromStr;
use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::zone::Broken;
use crate::random::Random;
use crate::values::{Share, Span};

/// A value for one type of question, or for all: `mx=5%`, `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Of<T> {
    kind: Option<RecordType>,
    value: T,
}

impl<T: FromStr<Err = String>> FromStr for Of<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, value)) = text.split_once('=') else { return Ok(Of { kind: None, value: text.parse()? }) };
        let kind = kind.trim().to_ascii_uppercase().parse().map_err(|_| format!("{text:?}: {kind:?} is no type"))?;
        Ok(Of { kind: Some(kind), value: value.parse()? })
    }
}

/// A wait between two bounds: `20ms`, or `20ms-80ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    least: Span,
    most: Span,
}

impl FromStr for Wait {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let (least, most): (Span, Span) = (least.parse()?, most.parse()?);
        if most < least {
            return Err(format!("{text:?}: the second time is the longer one"));
        }
        Ok(Wait { least, most })
    }
}

/// What becomes of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// The answer waits this long.
    pub delay: Duration,
    /// Not answered as the zone says.
    pub broken: Option<Broken>,
    /// Over UDP the answer is cut, so that the client asks by TCP.
    pub is_truncated: bool,
}

/// All that goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// How long answers wait.
    pub delays: Vec<Of<Wait>>,
    /// Shares that are broken in a way.
    pub failures: Vec<(Broken, Of<Share>)>,
    /// Shares whose answer over UDP is cut.
    pub truncations: Vec<Of<Share>>,
}

/// The value for a type: its own before the one for all; the last one given wins.
fn of<T: Copy>(all: &[Of<T>], kind: RecordType) -> Option<T> {
    let own = all.iter().rev().find(|of| of.kind == Some(kind));
    own.or_else(|| all.iter().rev().find(|of| of.kind.is_none())).map(|of| of.value)
}

impl Behaviour {
    /// Throws the dice for a question.
    pub fn fate(&self, kind: RecordType, random: &mut Random) -> Fate {
        let delay = of(&self.delays, kind).map_or(Duration::ZERO, |wait| {
            let (least, most) = (wait.least.micros(), wait.most.micros());
            Duration::from_micros(least + random.below(most.saturating_sub(least).saturating_add(1)))
        });
        // One draw for all failures: their shares add up.
        let mut drawn = random.unit();
        let broken =
            [Broken::Timeout, Broken::ServerFailure, Broken::Refused, Broken::NoSuchName].into_iter().find(|one| {
                let shares: Vec<_> =
                    self.failures.iter().filter(|(broken, _)| broken == one).map(|(_, of)| *of).collect();
                drawn -= of(&shares, kind).map_or(0.0, |share| share.0);
                drawn < 0.0
            });
        let is_truncated = of(&self.truncations, kind).is_some_and(|share| random.chance(share.0));
        Fate { delay, broken, is_truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_and_a_type_of_its_own_wins() {
        let behaviour = Behaviour {
            delays: vec!["5ms".parse().expect("a wait"), "mx=20ms-30ms".parse().expect("a wait")],
            failures: vec![
                (Broken::ServerFailure, "10%".parse().expect("a share")),
                (Broken::Timeout, "mx=30%".parse().expect("a share")),
                (Broken::ServerFailure, "mx=20%".parse().expect("a share")),
            ],
            truncations: vec!["txt=100%".parse().expect("a share")],
        };
        let mut random = Random::new(7);
        let fates: Vec<_> = (0..10_000).map(|_| behaviour.fate(RecordType::MX, &mut random)).collect();
        let share = |broken| fates.iter().filter(|fate| fate.broken == broken).count();
        assert!((2_800..3_200).contains(&share(Some(Broken::Timeout))));
        assert!((1_800..2_200).contains(&share(Some(Broken::ServerFailure))));
        assert!((4_700..5_300).contains(&share(None)));
        let (least, most) = (Duration::from_millis(20), Duration::from_millis(30));
        assert!(fates.iter().all(|fate| (least..=most).contains(&fate.delay) && !fate.is_truncated));
        let other = behaviour.fate(RecordType::TXT, &mut random);
        assert_eq!((other.delay, other.is_truncated), (Duration::from_millis(5), true));
    }

    #[test]
    fn what_is_typed_wrongly_is_said() {
        assert!("bogus=5%".parse::<Of<Share>>().is_err());
        assert!("mx=500%".parse::<Of<Share>>().is_err());
        assert!("80ms-20ms".parse::<Of<Wait>>().is_err());
    }
}
