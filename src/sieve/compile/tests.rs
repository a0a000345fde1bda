//! Tests by their verbs.

use super::super::bind::{Bound, title};
use super::super::capability::Capability;
use super::super::lexer::shortened;
use super::super::program::{
    AddressPart, DatePart, DateTest, DuplicateTest, EnvelopePart, ScoreKind, Slot, Test, Text, Unique, Zone,
};
use super::super::signature::Verb;
use super::super::signatures::{SIZE, ZONE};
use super::{Builder, Folded, number, strings};

/// Fields that hold addresses (RFC 5228 §5.1: others are refused).
const ADDRESS_FIELDS: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "resent-from",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "resent-sender",
    "resent-reply-to",
    "return-path",
    "delivered-to",
    "envelope-to",
    "x-original-to",
    "errors-to",
    "return-receipt-to",
    "disposition-notification-to",
    "mail-followup-to",
    "mail-reply-to",
    "apparently-to",
    "approved",
    "list-post",
    "for-approval",
    "for-handling",
    "for-comment",
    "read-receipt-to",
    "return-receipt-requested",
    "registered-mail-reply-requested-by",
    "abuse-reports-to",
];

impl Builder<'_, '_> {
    /// A test without tests of its own.
    pub(super) fn leaf_test(&mut self, bound: &Bound<'_, '_>) -> Folded {
        if bound.signature.verb == Verb::Size {
            return self.size(bound);
        }
        if let Some(test) = self.lower_test(bound) {
            self.emit_test(test);
        }
        Folded::Unknown
    }

    fn lower_test(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        match bound.signature.verb {
            Verb::Address => self.address(bound),
            Verb::Envelope => self.envelope(bound),
            Verb::Exists => {
                let names = bound.positional(0)?;
                let headers = self.texts(names);
                self.check_field_names(names, &headers);
                if !self.check_mime_tags(bound) {
                    return None;
                }
                if bound.has("mime").is_some() {
                    return self.mime_test(bound, headers);
                }
                Some(Test::Exists(headers))
            }
            Verb::Header => {
                let names = bound.positional(0)?;
                let headers = self.texts(names);
                self.check_field_names(names, &headers);
                if !self.check_mime_tags(bound) {
                    return None;
                }
                if bound.has("mime").is_some() {
                    return self.mime_test(bound, headers);
                }
                let occurrence = self.occurrence(bound)?;
                let matcher = self.matcher(bound, bound.positional(1)?)?;
                Some(Test::Header { headers, matcher, occurrence })
            }
            Verb::Body => self.body_test(bound),
            Verb::Convert => Some(Test::Convert(self.convert(bound)?)),
            Verb::String => {
                let sources = self.texts(bound.positional(0)?);
                Some(Test::String { sources, matcher: self.matcher(bound, bound.positional(1)?)? })
            }
            Verb::Environment => {
                let name = self.one_text(bound.positional(0)?);
                Some(Test::Environment { name, matcher: self.matcher(bound, bound.positional(1)?)? })
            }
            Verb::Date => self.date(bound, true),
            Verb::Currentdate => self.date(bound, false),
            Verb::Hasflag => self.has_flag(bound),
            Verb::Spamtest => {
                let kind = if bound.has("percent").is_some() { ScoreKind::SpamPercent } else { ScoreKind::Spam };
                Some(Test::Score { kind, matcher: self.matcher(bound, bound.positional(0)?)? })
            }
            Verb::Virustest => {
                Some(Test::Score { kind: ScoreKind::Virus, matcher: self.matcher(bound, bound.positional(0)?)? })
            }
            Verb::Duplicate => self.duplicate(bound),
            Verb::Mailboxexists => Some(Test::MailboxExists(self.texts(bound.positional(0)?))),
            Verb::Mailboxidexists => Some(Test::MailboxIdExists(self.texts(bound.positional(0)?))),
            Verb::SpecialuseExists => {
                let mailbox = bound.positional(0).map(|argument| self.one_text(argument));
                Some(Test::SpecialUseExists { mailbox, attributes: self.texts(bound.positional(1)?) })
            }
            Verb::ValidNotifyMethod => Some(Test::ValidNotifyMethod(self.texts(bound.positional(0)?))),
            Verb::NotifyMethodCapability => {
                let method = self.one_text(bound.positional(0)?);
                let capability = self.one_text(bound.positional(1)?);
                let matcher = self.matcher(bound, bound.positional(2)?)?;
                Some(Test::NotifyMethodCapability { method, capability, matcher })
            }
            Verb::ValidExtList => Some(Test::ValidExtList(self.texts(bound.positional(0)?))),
            Verb::Eval => Some(Test::Eval(Box::new(self.expression(bound, bound.positional(0)?)?))),
            Verb::Host => Some(Test::Host(Box::new(self.host_call(bound)?))),
            _ => None,
        }
    }

    fn address(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        let names = bound.positional(0)?;
        let headers = self.texts(names);
        self.check_field_names(names, &headers);
        for ((_, at), header) in strings(names).into_iter().zip(&headers) {
            let Text::Literal(name) = header else { continue };
            let name = String::from_utf8_lossy(name);
            let is_address = ADDRESS_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(&name))
                || name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-"))
                || !super::matcher::is_field_name(name.as_bytes());
            if !is_address {
                let message = format!(
                    "header '{}' is not allowed for the {}: it holds no addresses",
                    shortened(&name),
                    title(bound.signature)
                );
                self.faults.error(at, message);
                return None;
            }
        }
        if !self.check_mime_tags(bound) {
            return None;
        }
        if bound.has("mime").is_some() {
            return self.mime_test(bound, headers);
        }
        let part = self.address_part(bound);
        let occurrence = self.occurrence(bound)?;
        let matcher = self.matcher(bound, bound.positional(1)?)?;
        Some(Test::Address { headers, part, matcher, occurrence })
    }

    fn envelope(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        let names = bound.positional(0)?;
        let mut parts = Vec::new();
        for (raw, at) in strings(names) {
            let Text::Literal(name) = self.text(raw, at) else {
                self.argument_fault(bound, at, "the name of a part must be a constant string");
                return None;
            };
            match EnvelopePart::from_name(&name) {
                Some((part, capability)) if self.required.uses(capability) => parts.push(part),
                _ => {
                    let name = shortened(&String::from_utf8_lossy(&name));
                    self.argument_fault(bound, at, &format!("unknown part of the envelope '{name}'"));
                    return None;
                }
            }
        }
        let part = self.address_part(bound);
        if part != AddressPart::All && parts.iter().any(|part| !part.is_address()) {
            self.faults.warning(names.at, "an address part of what is no address: nothing ever matches");
        }
        let matcher = self.matcher(bound, bound.positional(1)?)?;
        Some(Test::Envelope { parts: parts.into(), part, matcher })
    }

    fn size(&mut self, bound: &Bound<'_, '_>) -> Folded {
        let Some((name, ..)) = bound.of_family(SIZE) else {
            self.faults.error(bound.call.at, "the size test requires either the ':over' or the ':under' tag");
            return Folded::Unknown;
        };
        let is_over = name == "over";
        let limit = bound.positional(0).map_or(0, number);
        self.emit_test(Test::Size { is_over, limit });
        if !is_over && limit == 0 {
            return Folded::Known(false);
        }
        Folded::Unknown
    }

    fn date(&mut self, bound: &Bound<'_, '_>, has_header: bool) -> Option<Test> {
        let first = usize::from(has_header);
        let header = match has_header {
            true => {
                let name = bound.positional(0)?;
                let texts = self.texts(name);
                self.check_field_names(name, &texts);
                texts.into_vec().pop()
            }
            false => None,
        };
        let part = bound.positional(first)?;
        let name = self.constant(bound, part, "the date part")?;
        let Some(date_part) = DatePart::from_name(&name) else {
            let name = shortened(&String::from_utf8_lossy(&name));
            self.argument_fault(bound, part.at, &format!("unknown date part '{name}'"));
            return None;
        };
        let zone = match bound.of_family(ZONE) {
            None => Zone::Local,
            Some(("originalzone", ..)) => Zone::Original,
            Some((_, _, argument)) => {
                let argument = argument?;
                let zone = self.one_text(argument);
                if let Text::Literal(text) = &zone
                    && super::super::date::zone_minutes(text).is_none()
                {
                    self.argument_fault(bound, argument.at, "a zone is written as \"+0200\"");
                    return None;
                }
                Zone::Given(zone)
            }
        };
        let occurrence = if has_header { self.occurrence(bound)? } else { None };
        let matcher = self.matcher(bound, bound.positional(first + 1)?)?;
        Some(Test::Date(Box::new(DateTest { header, part: date_part, zone, matcher, occurrence })))
    }

    /// `hasflag` (RFC 5232 §4): of variables, or of the internal one.
    fn has_flag(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        let mut slots: Vec<Slot> = Vec::new();
        let names = bound.positional(0);
        if let Some(names) = names {
            for (raw, at) in strings(names) {
                slots.push(self.named_slot(bound, raw, at)?);
            }
        }
        let matcher = self.matcher(bound, bound.positional(1)?)?;
        Some(Test::HasFlag { is_internal: names.is_none(), slots: slots.into(), matcher })
    }

    /// The variable that a flag command or test names: it needs "variables".
    pub(super) fn named_slot(&mut self, bound: &Bound<'_, '_>, raw: &[u8], at: usize) -> Option<Slot> {
        if !self.required.uses(Capability::Variables) {
            self.argument_fault(bound, at, "a variable needs the \"variables\" extension");
            return None;
        }
        let name = self.plain_name(bound, raw, at)?;
        self.slot(name)
    }

    fn duplicate(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        let unique = match (self.tag_text(bound, "header"), self.tag_text(bound, "uniqueid")) {
            (Some(header), _) => Unique::Header(header),
            (_, Some(id)) => Unique::Id(id),
            _ => Unique::MessageId,
        };
        Some(Test::Duplicate(Box::new(DuplicateTest {
            unique,
            handle: self.tag_text(bound, "handle"),
            seconds: bound.tag("seconds").map(number),
            is_last: bound.has("last").is_some(),
        })))
    }
}
