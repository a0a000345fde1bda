//! Commands: what they add to the actions, and what they change in the machine.

use compact_str::CompactString;

use super::super::action::{
    Action, FileInto, Importance, Keep, Notification, Redirect, RedirectBy, RedirectDeadline, Reject, Vacation,
};
use super::super::address;
use super::super::date;
use super::super::decode::field_value;
use super::super::limits::Limit;
use super::super::notify;
use super::super::program::{
    By, Command, EnvelopePart, FileIntoCommand, FlagVerb, Matcher, NotifyCommand, Occurrence, Program, RedirectCommand,
    SetTarget, Slot, Text, VacationCommand,
};
use super::super::question::{Answer, Question};
use super::values::modified;
use super::{Machine, Outcome, RunErrorKind, mismatch};
use crate::mail::{Edit, ForwardPath, Notify, Ret};

/// Fields that no script may delete (RFC 5293 §6).
const PROTECTED_FIELDS: &[&str] = &["received", "auto-submitted"];

impl<'a> Machine<'a> {
    pub(super) fn act(&mut self, program: &Program, command: &Command) -> Outcome<()> {
        match command {
            Command::Keep { flags } => self.keep(flags.as_deref()),
            Command::Discard => {
                self.is_keep_cancelled = true;
                Ok(())
            }
            Command::Redirect(command) => self.redirect(command),
            Command::FileInto(command) => self.file_into(command),
            Command::Reject { reason, is_ereject } => self.reject(reason, *is_ereject),
            Command::Set { slot, modifiers, value } => {
                let mut value = self.cut_text(value)?;
                for modifier in modifiers {
                    value = modified(*modifier, &value, self.limits.variable_bytes);
                }
                match slot {
                    SetTarget::Slot(slot) => self.set_variable(*slot, value),
                    SetTarget::Envelope(part) => self.set_envelope(*part, value),
                }
            }
            Command::AddHeader { name, value, is_last } => self.add_header(name, value, *is_last),
            Command::DeleteHeader { name, occurrence, matcher } => {
                self.delete_header(program, name, *occurrence, matcher.as_ref())
            }
            Command::Flags { verb, slot, flags } => self.change_flags(*verb, *slot, flags),
            Command::Notify(command) => self.notify(command),
            Command::Vacation(command) => self.vacation(command),
            Command::Include { name, is_global, is_once, is_optional } => {
                self.include(name, *is_global, *is_once, *is_optional)
            }
            Command::Replace(command) => self.replace(command),
            Command::Enclose(command) => self.enclose(command),
            Command::ExtractText(command) => self.extract_text(command),
            Command::Convert(command) => self.convert(command).map(drop),
            Command::Error(message) => Err(RunErrorKind::Error(self.utf8(message)?).into()),
            Command::Let { slot, expression } => {
                let value = self.evaluate(expression)?;
                self.forget_effects();
                self.let_variable(*slot, value)
            }
            Command::Eval(expression) => {
                self.evaluate(expression)?;
                self.forget_effects();
                Ok(())
            }
            Command::Host(call) => self.host_test(program, call).map(drop),
        }
    }

    /// Reject and what delivers exclude each other (RFC 5429 §2.1, RFC 5230 §4.7).
    fn check_conflict(&self, this: &'static str, is_reject: bool) -> Outcome<()> {
        for action in &self.actions {
            let other = match action {
                Action::Reject(_) => "reject",
                Action::Keep(_) if is_reject => "keep",
                Action::FileInto(_) if is_reject => "fileinto",
                Action::Redirect(_) if is_reject => "redirect",
                Action::Vacation(_) if is_reject => "vacation",
                _ => continue,
            };
            return Err(RunErrorKind::Conflict(this, other).into());
        }
        Ok(())
    }

    fn keep(&mut self, flags: Option<&[Text]>) -> Outcome<()> {
        self.check_conflict("keep", false)?;
        let flags = self.flags_for(flags)?;
        self.is_keep_cancelled = true;
        let known = self.actions.iter_mut().find_map(|action| match action {
            Action::Keep(keep) => Some(keep),
            _ => None,
        });
        match known {
            Some(keep) => {
                keep.flags = flags;
                Ok(())
            }
            None => self.add(Action::Keep(Keep { is_implicit: false, flags })),
        }
    }

    fn file_into(&mut self, command: &FileIntoCommand) -> Outcome<()> {
        self.check_conflict("fileinto", false)?;
        let mailbox = self.text(&command.mailbox)?;
        let mailbox = match std::str::from_utf8(&mailbox) {
            Ok(mailbox) if !mailbox.is_empty() => mailbox.to_owned(),
            _ => {
                let shown = String::from_utf8_lossy(&mailbox).into_owned();
                return Err(RunErrorKind::Invalid(format!("invalid folder name '{shown}'")).into());
            }
        };
        let action = FileInto {
            mailbox,
            is_copy: command.is_copy,
            is_create: command.is_create,
            flags: self.flags_for(command.flags.as_deref())?,
            mailbox_id: self.utf8_option(&command.mailbox_id)?,
            special_use: self.utf8_option(&command.special_use)?,
        };
        self.is_keep_cancelled |= !command.is_copy;
        let known = self.actions.iter_mut().find_map(|known| match known {
            Action::FileInto(known) if known.mailbox == action.mailbox => Some(known),
            _ => None,
        });
        match known {
            Some(known) => {
                *known = action; // one copy for each mailbox (RFC 5228 §2.10.3)
                Ok(())
            }
            None => self.add(Action::FileInto(action)),
        }
    }

    fn reject(&mut self, reason: &Text, is_ereject: bool) -> Outcome<()> {
        self.check_conflict(if is_ereject { "ereject" } else { "reject" }, true)?;
        let reason = self.utf8(reason)?;
        self.is_keep_cancelled = true;
        self.add(Action::Reject(Reject { reason, is_ereject }))
    }

    fn redirect(&mut self, command: &RedirectCommand) -> Outcome<()> {
        self.check_conflict("redirect", false)?;
        let targets = self.redirect_targets(command)?;
        let (notify, ret) = (self.redirect_notify(command)?, self.redirect_ret(command)?);
        let deliver_by = self.redirect_by(command)?;
        if !targets.is_empty() && self.count_fields(b"received") > self.limits.received_fields {
            return Err(Limit::ReceivedFields.into());
        }
        self.is_keep_cancelled |= !command.is_copy;
        for to in targets {
            let action = Redirect { to, is_copy: command.is_copy, notify, ret, deliver_by: deliver_by.clone() };
            let mut redirects = 0;
            let mut is_known = false;
            for known in &self.actions {
                if let Action::Redirect(known) = known {
                    redirects += 1;
                    is_known |= known.to == action.to;
                }
            }
            if is_known {
                continue; // one copy for each address (RFC 5228 §2.10.3)
            }
            if redirects >= self.limits.redirects {
                return Err(Limit::Redirects.into());
            }
            self.add(Action::Redirect(action))?;
        }
        Ok(())
    }

    fn redirect_targets(&self, command: &RedirectCommand) -> Outcome<Vec<ForwardPath>> {
        let raw = self.text(&command.address)?;
        if !command.is_list {
            return Ok(vec![outgoing(&raw)?]);
        }
        match self.ask(Question::ListMembers(raw.into_owned()))? {
            Answer::Values(members) => members.iter().map(|member| outgoing(member)).collect(),
            _ => Err(mismatch("the members of a list")),
        }
    }

    fn redirect_notify(&self, command: &RedirectCommand) -> Outcome<Option<Notify>> {
        let Some(text) = &command.notify else { return Ok(None) };
        let text = self.utf8(text)?;
        parse_notify(&text).map(Some).ok_or_else(|| RunErrorKind::Invalid(format!("':notify \"{text}\"'")).into())
    }

    fn redirect_ret(&self, command: &RedirectCommand) -> Outcome<Option<Ret>> {
        let Some(text) = &command.ret else { return Ok(None) };
        let text = self.utf8(text)?;
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Some(Ret::Full)),
            "HDRS" => Ok(Some(Ret::Headers)),
            _ => Err(RunErrorKind::Invalid(format!("':ret \"{text}\"' is neither FULL nor HDRS")).into()),
        }
    }

    fn redirect_by(&self, command: &RedirectCommand) -> Outcome<Option<RedirectBy>> {
        let when = match &command.by {
            None => return Ok(None),
            Some(By::Relative(seconds)) => RedirectDeadline::InSeconds(*seconds),
            Some(By::Absolute(text)) => {
                let text = self.text(text)?;
                let seconds = date::parse_rfc3339(&text).ok_or_else(|| {
                    let shown = String::from_utf8_lossy(&text).into_owned();
                    RunErrorKind::Invalid(format!("':bytimeabsolute \"{shown}\"' is no date of RFC 3339"))
                })?;
                RedirectDeadline::AtUnixSeconds(seconds)
            }
        };
        let mode = self.utf8_option(&command.by_mode)?.unwrap_or_else(|| "return".to_owned());
        let is_return = match mode.to_ascii_lowercase().as_str() {
            "return" | "r" => true,
            "notify" | "n" => false,
            _ => return Err(RunErrorKind::Invalid(format!("':bymode \"{mode}\"' is neither return nor notify")).into()),
        };
        Ok(Some(RedirectBy { when, is_return, is_trace: command.is_by_trace }))
    }

    fn set_envelope(&mut self, part: EnvelopePart, value: Vec<u8>) -> Outcome<()> {
        let text = String::from_utf8_lossy(&value).into_owned();
        self.envelope_changes.push((part, value));
        self.add(Action::SetEnvelope { part, value: text })
    }

    fn add_header(&mut self, name: &Text, value: &Text, is_last: bool) -> Outcome<()> {
        let name = self.field_name(name)?;
        let value = self.utf8(value)?;
        let value = value.trim().to_owned();
        let edit =
            if is_last { Edit::AppendField { name, value } } else { Edit::InsertField { index: 0, name, value } };
        self.edit(vec![edit])
    }

    fn field_name(&self, name: &Text) -> Outcome<CompactString> {
        let name = self.utf8(name)?;
        if name.is_empty() || !name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
            return Err(RunErrorKind::Invalid(format!("'{name}' is no name of a header field")).into());
        }
        Ok(CompactString::from(name))
    }

    /// `deleteheader` (RFC 5293 §5): of the fields of a name, all or one occurrence; of those, all or those
    /// that match.
    fn delete_header(
        &mut self,
        program: &Program,
        name: &Text,
        occurrence: Option<Occurrence>,
        matcher: Option<&Matcher>,
    ) -> Outcome<()> {
        let name = self.field_name(name)?;
        if PROTECTED_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            return Ok(());
        }
        let count = self.header().named(&name).count();
        let only =
            occurrence.map(|at| if at.is_from_last { (count + 1).checked_sub(at.index) } else { Some(at.index) });
        let mut edits = Vec::new();
        for n in 1..=count {
            if only.is_some_and(|only| only != Some(n)) {
                continue;
            }
            let is = match matcher {
                None => true,
                Some(matcher) => self.match_values(program, matcher, |machine, probe| {
                    match machine.header().named(&name).nth(n - 1) {
                        Some(field) => Ok(probe.offer(&field_value(field.value))?),
                        None => Ok(false),
                    }
                })?,
            };
            if is {
                // Every edit before it has taken one of that name away.
                edits.push(Edit::DeleteField { name: name.clone(), occurrence: n - edits.len() });
            }
        }
        self.edit(edits)
    }

    fn change_flags(&mut self, verb: FlagVerb, slot: Option<Slot>, flags: &[Text]) -> Outcome<()> {
        let mut named: Vec<CompactString> = Vec::new();
        for text in flags {
            for flag in split_flags(&self.text(text)?) {
                add_flag(&mut named, flag);
            }
        }
        let mut current: Vec<CompactString> = match slot {
            None => std::mem::take(&mut self.flags),
            Some(slot) => {
                let mut current = Vec::new();
                split_flags(self.variable(slot)).for_each(|flag| add_flag(&mut current, flag));
                current
            }
        };
        match verb {
            FlagVerb::Set => current = named,
            FlagVerb::Add => named.iter().for_each(|flag| add_flag(&mut current, flag.as_bytes())),
            FlagVerb::Remove => current.retain(|flag| !named.iter().any(|gone| gone.eq_ignore_ascii_case(flag))),
        }
        match slot {
            None => {
                self.flags = current;
                Ok(())
            }
            Some(slot) => self.set_variable(slot, current.join(" ").into_bytes()),
        }
    }

    /// The flags of a store: those of its tag, or the internal ones.
    fn flags_for(&self, flags: Option<&[Text]>) -> Outcome<Vec<CompactString>> {
        let Some(flags) = flags else { return Ok(self.flags.clone()) };
        let mut named = Vec::new();
        for text in flags {
            for flag in split_flags(&self.text(text)?) {
                add_flag(&mut named, flag);
            }
        }
        Ok(named)
    }

    fn check_out_messages(&self) -> Outcome<()> {
        let sent = self.actions.iter().filter(|a| matches!(a, Action::Notify(_) | Action::Vacation(_))).count();
        if sent >= self.limits.out_messages { Err(Limit::OutMessages.into()) } else { Ok(()) }
    }

    fn notify(&mut self, command: &NotifyCommand) -> Outcome<()> {
        let method = self.utf8(&command.method)?;
        notify::check_method(method.as_bytes()).map_err(RunErrorKind::Invalid)?;
        let importance = match self.utf8_option(&command.importance)?.as_deref().map(str::trim) {
            Some("1") => Importance::High,
            Some("3") => Importance::Low,
            _ => Importance::Normal,
        };
        let mut options = Vec::with_capacity(command.options.len());
        for option in &command.options {
            options.push(self.utf8(option)?);
        }
        let from = match &command.from {
            Some(from) => {
                let from = self.utf8(from)?;
                outgoing(from.as_bytes())?;
                Some(from)
            }
            None => None,
        };
        let message = self.utf8_option(&command.message)?;
        let action = Action::Notify(Notification { method, from, importance, options, message });
        if self.actions.contains(&action) {
            return Ok(());
        }
        self.check_out_messages()?;
        self.add(action)
    }

    fn vacation(&mut self, command: &VacationCommand) -> Outcome<()> {
        self.check_conflict("vacation", false)?;
        if self.actions.iter().any(|action| matches!(action, Action::Vacation(_))) {
            return Err(RunErrorKind::Conflict("vacation", "another vacation").into());
        }
        let reason = self.owned(&command.reason)?;
        let subject = self.utf8_option(&command.subject)?;
        let from = self.utf8_option(&command.from)?;
        let mut addresses = Vec::with_capacity(command.addresses.len());
        for address in &command.addresses {
            addresses.push(self.utf8(address)?);
        }
        let handle = match &command.handle {
            Some(handle) => self.owned(handle)?,
            None => {
                // What tells responses apart without a handle (RFC 5230 §4.2).
                let parts = [subject.as_deref(), from.as_deref(), Some(if command.is_mime { "mime" } else { "" })];
                let mut handle = parts.map(Option::unwrap_or_default).join("\0").into_bytes();
                handle.push(0);
                handle.extend_from_slice(&reason);
                handle
            }
        };
        self.check_out_messages()?;
        self.add(Action::Vacation(Vacation {
            reason,
            period_s: command.seconds,
            subject,
            from,
            addresses,
            is_mime: command.is_mime,
            handle,
        }))
    }
}

fn outgoing(raw: &[u8]) -> Outcome<ForwardPath> {
    address::outgoing(raw)
        .ok_or_else(|| RunErrorKind::Invalid(format!("'{}' is no address", String::from_utf8_lossy(raw))).into())
}

/// NOTIFY as RFC 3461 §4.1 writes it.
fn parse_notify(text: &str) -> Option<Notify> {
    if text.eq_ignore_ascii_case("never") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in text.split(',') {
        match word.trim().to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

/// The flags of a text, which spaces separate (RFC 5232 §2).
pub(super) fn split_flags(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|flag| !flag.is_empty())
}

/// Adds a flag that is none of them yet. System flags are those of IMAP; what is no flag is left out.
pub(super) fn add_flag(flags: &mut Vec<CompactString>, flag: &[u8]) {
    let Ok(flag) = std::str::from_utf8(flag) else { return };
    const SYSTEM: &[&str] = &["answered", "flagged", "deleted", "seen", "draft"];
    let is_sound = match flag.strip_prefix('\\') {
        Some(name) => SYSTEM.iter().any(|system| name.eq_ignore_ascii_case(system)),
        None => !flag.bytes().any(|b| b <= b' ' || b >= 0x7f || b"(){%*\"\\]".contains(&b)),
    };
    if is_sound && !flags.iter().any(|known| known.eq_ignore_ascii_case(flag)) {
        flags.push(CompactString::from(flag));
    }
}
