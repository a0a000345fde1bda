//! The envelope as tests see it (RFC 5228 §5.4, RFC 6009 §2).

use super::super::address::part_of_local;
use super::super::matching::Probe;
use super::super::program::{AddressPart, EnvelopePart, Matcher, Program};
use super::super::question::{Octets, Question};
use super::{Machine, Outcome, Stop};
use crate::mail::{DeliverByMode, Notify, Recipient, Ret};

impl<'a> Machine<'a> {
    pub(super) fn envelope_test(
        &mut self,
        program: &Program,
        parts: &[EnvelopePart],
        address_part: AddressPart,
        matcher: &Matcher,
    ) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            for &part in parts {
                let is = machine.each_envelope_value(part, |value| machine.offer_part(value, address_part, probe))?;
                if is {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// An envelope address is well-formed: its parts are around the last `@`. The null reverse-path is empty.
    fn offer_part(&self, value: &[u8], part: AddressPart, probe: &mut Probe<'_>) -> Outcome<bool> {
        if part == AddressPart::All {
            return Ok(probe.offer(value)?);
        }
        let at = memchr::memrchr(b'@', value);
        let (local, domain) = match at {
            Some(at) => (value.get(..at).unwrap_or(&[]), value.get(at + 1..).unwrap_or(&[])),
            None => (value, &[][..]),
        };
        let text = match part {
            AddressPart::Domain => Some(domain),
            part => part_of_local(local, part, self.delimiters.as_bytes()),
        };
        match text {
            Some(text) => Ok(probe.offer(text)?),
            None => Ok(false),
        }
    }

    /// Visits the values of a part until the visitor is content.
    fn each_envelope_value(&self, part: EnvelopePart, mut visit: impl FnMut(&[u8]) -> Outcome<bool>) -> Outcome<bool> {
        if let Some((_, changed)) = self.envelope_changes.iter().rev().find(|(changed, _)| *changed == part) {
            return visit(changed);
        }
        let mail = &self.envelope.mail;
        let value: Option<Octets> = match part {
            EnvelopePart::From => return visit(self.envelope.reverse_path.as_str().as_bytes()),
            EnvelopePart::To => return self.each_recipient(|recipient| visit(recipient.path.as_str().as_bytes())),
            EnvelopePart::OrigTo => {
                return self.each_recipient(|recipient| match &recipient.original {
                    Some(original) if matches!(&*original.kind, "rfc822" | "utf-8") => {
                        visit(original.address.as_bytes())
                    }
                    _ => visit(recipient.path.as_str().as_bytes()),
                });
            }
            EnvelopePart::Notify => {
                return self.each_recipient(|recipient| match recipient.notify {
                    Some(notify) => visit(notify_text(notify).as_bytes()),
                    None => Ok(false),
                });
            }
            EnvelopePart::Orcpt => {
                return self.each_recipient(|recipient| match &recipient.original {
                    Some(original) => visit(format!("{};{}", original.kind, original.address).as_bytes()),
                    None => Ok(false),
                });
            }
            EnvelopePart::Auth => self.ask_text(Question::Authenticated)?.map(<[u8]>::to_vec),
            EnvelopePart::Ret => mail.ret.map(|ret| match ret {
                Ret::Full => b"FULL".to_vec(),
                Ret::Headers => b"HDRS".to_vec(),
            }),
            EnvelopePart::Envid => mail.envid.as_ref().map(|envid| envid.as_bytes().to_vec()),
            EnvelopePart::ByTimeAbsolute => mail.deliver_by.map(|by| {
                let date = super::Date { unix_seconds: by.deadline.unix_seconds(), zone_minutes: 0 };
                date.part(super::super::program::DatePart::Iso8601).into_bytes()
            }),
            EnvelopePart::ByTimeRelative => match mail.deliver_by {
                Some(by) => {
                    let left = by.deadline.unix_seconds() - self.now()?.unix_seconds;
                    Some(left.to_string().into_bytes())
                }
                None => None,
            },
            EnvelopePart::ByMode => mail.deliver_by.map(|by| match by.mode {
                DeliverByMode::Return => b"return".to_vec(),
                DeliverByMode::Notify => b"notify".to_vec(),
            }),
            EnvelopePart::ByTrace => mail.deliver_by.filter(|by| by.trace).map(|_| b"trace".to_vec()),
        };
        match value {
            Some(value) => visit(&value),
            None => Ok(false),
        }
    }

    fn each_recipient(&self, mut visit: impl FnMut(&Recipient) -> Outcome<bool>) -> Outcome<bool> {
        for recipient in &self.envelope.recipients {
            if visit(recipient)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A part as a variable gives it: its first value.
    pub(super) fn envelope_text(&self, part: EnvelopePart) -> Outcome<Octets> {
        let mut found = Vec::new();
        self.each_envelope_value(part, |value| -> Result<bool, Stop> {
            found = value.to_vec();
            Ok(true)
        })?;
        Ok(found)
    }
}

fn notify_text(notify: Notify) -> String {
    if notify.is_never() {
        return "NEVER".to_owned();
    }
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}
