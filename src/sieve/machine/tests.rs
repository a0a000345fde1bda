//! Every other test: size, strings, flags, scores, and what only the host knows.

use compact_str::CompactString;

use super::super::decode::field_value;
use super::super::notify;
use super::super::program::{
    DuplicateTest, HostArgument, HostCall, Matcher, Program, ScoreKind, Slot, Test, Text, Unique,
};
use super::super::question::{Answer, HostQuestion, HostValue, Octets, Question};
use super::{Machine, Outcome, mismatch};

impl<'a> Machine<'a> {
    pub(super) fn test(&mut self, program: &Program, test: &Test) -> Outcome<bool> {
        match test {
            Test::Header { headers, matcher, occurrence } => self.header_test(program, headers, matcher, *occurrence),
            Test::Address { headers, part, matcher, occurrence } => {
                self.address_test(program, headers, *part, matcher, *occurrence)
            }
            Test::Envelope { parts, part, matcher } => self.envelope_test(program, parts, *part, matcher),
            Test::Body(test) => self.body_test(program, test),
            Test::Mime(test) => self.mime_test(program, test),
            Test::Convert(command) => self.convert(command),
            Test::Exists(headers) => self.exists_test(headers),
            Test::Size { is_over, limit } => {
                let size = self.size_bytes();
                Ok(if *is_over { size > *limit } else { size < *limit })
            }
            Test::String { sources, matcher } => self.string_test(program, sources, matcher),
            Test::Environment { name, matcher } => self.environment_test(program, name, matcher),
            Test::Date(test) => self.date_test(program, test),
            Test::HasFlag { is_internal, slots, matcher } => self.has_flag_test(program, *is_internal, slots, matcher),
            Test::Score { kind, matcher } => self.score_test(program, *kind, matcher),
            Test::Duplicate(test) => self.duplicate_test(test),
            Test::MailboxExists(names) => self.ask_bool(Question::MailboxesExist(self.all_owned(names)?)),
            Test::MailboxIdExists(ids) => self.ask_bool(Question::MailboxIdsExist(self.all_owned(ids)?)),
            Test::SpecialUseExists { mailbox, attributes } => {
                let mailbox = mailbox.as_ref().map(|mailbox| self.owned(mailbox)).transpose()?;
                self.ask_bool(Question::SpecialUseExists { mailbox, attributes: self.all_owned(attributes)? })
            }
            Test::ValidNotifyMethod(methods) => {
                for method in methods {
                    if notify::check_method(&self.text(method)?).is_err() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::NotifyMethodCapability { method, capability, matcher } => {
                self.method_capability_test(program, method, capability, matcher)
            }
            Test::ValidExtList(lists) => self.ask_bool(Question::ListsExist(self.all_owned(lists)?)),
            Test::Eval(expression) => {
                let is = self.evaluate(expression)?.is_truthy();
                self.forget_effects();
                Ok(is)
            }
            Test::Host(call) => self.host_test(program, call),
        }
    }

    /// Octets of the message as it stands.
    fn size_bytes(&self) -> u64 {
        let separator = if self.has_body() { 2 } else { 0 };
        let body: u64 = self.body().iter().map(|piece| piece.len() as u64).sum();
        self.view.trace.len() as u64 + self.header().raw().len() as u64 + separator + body
    }

    /// `string` (RFC 5229 §5). For `:count` an empty string is none.
    fn string_test(&mut self, program: &Program, sources: &[Text], matcher: &Matcher) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            let mut filled = 0;
            for source in sources {
                let value = machine.text(source)?;
                filled += u64::from(!value.is_empty());
                if probe.offer(&value)? {
                    return Ok(true);
                }
            }
            probe.count = filled;
            Ok(false)
        })
    }

    /// `environment` (RFC 5183 §4): an item that is not known never matches.
    fn environment_test(&mut self, program: &Program, name: &Text, matcher: &Matcher) -> Outcome<bool> {
        let name = self.utf8(name)?.to_ascii_lowercase();
        if self.ask_text(Question::Environment(CompactString::from(&name)))?.is_none() {
            return Ok(false);
        }
        self.match_values(program, matcher, |machine, probe| {
            let value = machine.ask_text(Question::Environment(CompactString::from(&name)))?.unwrap_or(&[]);
            let is = probe.offer(value)?;
            probe.count = u64::from(!value.is_empty());
            Ok(is)
        })
    }

    fn has_flag_test(
        &mut self,
        program: &Program,
        is_internal: bool,
        slots: &[Slot],
        matcher: &Matcher,
    ) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            probe.split_keys();
            let mut flags: Vec<CompactString> = if is_internal { machine.flags.clone() } else { Vec::new() };
            for slot in slots {
                super::actions::split_flags(machine.variable(*slot))
                    .for_each(|flag| super::actions::add_flag(&mut flags, flag));
            }
            for flag in &flags {
                if probe.offer(flag.as_bytes())? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// `spamtest`, `virustest` (RFC 5235): "0" where the message was not tested.
    fn score_test(&mut self, program: &Program, kind: ScoreKind, matcher: &Matcher) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            let score = machine.ask_text(Question::Score(kind))?;
            let is = probe.offer(score.unwrap_or(b"0"))?;
            // RFC 5235 §2.1: `:count` tells a score from none.
            probe.count = u64::from(score.is_some());
            Ok(is)
        })
    }

    fn duplicate_test(&mut self, test: &DuplicateTest) -> Outcome<bool> {
        let id: Option<Octets> = match &test.unique {
            Unique::Id(id) => Some(self.owned(id)?),
            Unique::Header(name) => {
                let name = self.text(name)?;
                self.fields(&name, None).next().map(|value| field_value(value).into_owned())
            }
            Unique::MessageId => self.fields(b"message-id", None).next().map(|value| field_value(value).into_owned()),
        };
        // Nothing to go by: no duplicate (RFC 7352 §3.1).
        let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(false) };
        let handle = test.handle.as_ref().map(|handle| self.owned(handle)).transpose()?.unwrap_or_default();
        let seconds = test.seconds.unwrap_or(self.limits.duplicate_s);
        self.ask_bool(Question::Duplicate { id, handle, seconds, is_last: test.is_last })
    }

    fn method_capability_test(
        &mut self,
        program: &Program,
        method: &Text,
        capability: &Text,
        matcher: &Matcher,
    ) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            let method = machine.owned(method)?;
            let capability = machine.owned(capability)?.to_ascii_lowercase();
            if notify::check_method(&method).is_err() {
                return Ok(false);
            }
            match machine.ask_text(Question::NotifyCapability { method, capability })? {
                Some(value) => Ok(probe.offer(value)?),
                None => Ok(false),
            }
        })
    }

    /// What the host added: it says yes or no, or gives values to be matched.
    pub(super) fn host_test(&mut self, program: &Program, call: &HostCall) -> Outcome<bool> {
        let question = self.host_question(call)?;
        let Some(matcher) = &call.matcher else {
            return self.ask_bool(question);
        };
        self.match_values(program, matcher, |machine, probe| {
            let Answer::Values(values) = machine.ask(question)? else { return Err(mismatch("values")) };
            for value in values {
                if probe.offer(value)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn host_question(&self, call: &HostCall) -> Outcome<Question> {
        let mut tags = Vec::with_capacity(call.tags.len());
        for (name, value) in &call.tags {
            tags.push((*name, value.as_ref().map(|value| self.host_value(value)).transpose()?));
        }
        let arguments = call.arguments.iter().map(|argument| self.host_value(argument)).collect::<Outcome<_>>()?;
        Ok(Question::Host(HostQuestion { name: call.name, tags, arguments }))
    }

    fn host_value(&self, argument: &HostArgument) -> Outcome<HostValue> {
        Ok(match argument {
            HostArgument::Number(n) => HostValue::Number(*n),
            HostArgument::Text(text) => HostValue::Text(self.owned(text)?),
            HostArgument::List(texts) => HostValue::List(self.all_owned(texts)?),
        })
    }
}
