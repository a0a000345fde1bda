//! Tests of the header section: `header`, `address`, `exists`, `date` (RFC 5228 §5, RFC 5260).

use std::ops::ControlFlow;

use super::super::address;
use super::super::date::{self, Date};
use super::super::decode::{field_value, trim};
use super::super::matching::{Captures, MatchError, Probe};
use super::super::program::{AddressPart, DateTest, MatchType, Matcher, Occurrence, Program, Text, Zone};
use super::super::question::Question;
use super::{Machine, Outcome};
use crate::mail::HeaderSection;

/// Stops a visit to the values: one matched, or it failed.
type Visit = ControlFlow<Result<(), MatchError>>;

impl<'a> Machine<'a> {
    /// The fields that were prepended, indexed when they are first asked for.
    fn trace(&self) -> Option<&HeaderSection> {
        if self.view.trace.is_empty() {
            return None;
        }
        let parse = || Box::new(HeaderSection::parse(bytes::Bytes::copy_from_slice(self.view.trace)));
        Some(self.trace.get_or_init(parse))
    }

    /// The raw values of the fields of a name, from the top, or of one occurrence.
    pub(super) fn fields<'x>(
        &'x self,
        name: &'x [u8],
        occurrence: Option<Occurrence>,
    ) -> impl Iterator<Item = &'x [u8]> {
        let sections = self.trace().into_iter().chain([self.header()]);
        let all = sections
            .flat_map(HeaderSection::fields)
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value);
        let mut only = None;
        let mut every = None;
        match occurrence {
            None => every = Some(all),
            Some(at) if at.is_from_last => {
                let found: Vec<_> = all.collect();
                only = found.len().checked_sub(at.index).and_then(|i| found.get(i).copied());
            }
            Some(at) => only = { all }.nth(at.index - 1),
        }
        only.into_iter().chain(every.into_iter().flatten())
    }

    /// How many fields of a name there are.
    pub(super) fn count_fields(&self, name: &[u8]) -> usize {
        self.fields(name, None).count()
    }

    pub(super) fn header_test(
        &mut self,
        program: &Program,
        headers: &[Text],
        matcher: &Matcher,
        occurrence: Option<Occurrence>,
    ) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            for header in headers {
                let name = machine.text(header)?;
                for value in machine.fields(&name, occurrence) {
                    if probe.offer(&field_value(value))? {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        })
    }

    pub(super) fn address_test(
        &mut self,
        program: &Program,
        headers: &[Text],
        part: AddressPart,
        matcher: &Matcher,
        occurrence: Option<Occurrence>,
    ) -> Outcome<bool> {
        self.match_values(program, matcher, |machine, probe| {
            for header in headers {
                let name = machine.text(header)?;
                for value in machine.fields(&name, occurrence) {
                    if let Some(result) = machine.offer_addresses(value, part, probe) {
                        return result.map(|()| true).map_err(Into::into);
                    }
                }
            }
            Ok(false)
        })
    }

    /// Offers the part of every address of a value; something when that decides.
    pub(super) fn offer_addresses(
        &self,
        value: &[u8],
        part: AddressPart,
        probe: &mut Probe<'_>,
    ) -> Option<Result<(), MatchError>> {
        let visit = address::each(value, |address| -> Visit {
            let Some(text) = address.part(part, self.delimiters.as_bytes()) else {
                return ControlFlow::Continue(());
            };
            match probe.offer(text) {
                Ok(true) => ControlFlow::Break(Ok(())),
                Ok(false) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            }
        });
        match visit {
            ControlFlow::Break(result) => Some(result),
            ControlFlow::Continue(()) => None,
        }
    }

    pub(super) fn exists_test(&self, headers: &[Text]) -> Outcome<bool> {
        for header in headers {
            let name = self.text(header)?;
            if self.fields(&name, None).next().is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn date_test(&mut self, program: &Program, test: &DateTest) -> Outcome<bool> {
        self.match_values(program, &test.matcher, |machine, probe| {
            let Some(header) = &test.header else {
                let now = machine.now()?;
                let date = machine.zoned(now, &test.zone)?;
                return Ok(probe.offer(date.part(test.part).as_bytes())?);
            };
            let name = machine.text(header)?;
            for value in machine.fields(&name, test.occurrence) {
                // The date of a trace field stands behind its last semicolon (RFC 5260 §4).
                let value = trim(value);
                let behind = memchr::memrchr(b';', value).and_then(|at| value.get(at + 1..));
                let found = date::parse(value).or_else(|| behind.and_then(date::parse));
                let Some(date) = found else { continue };
                let date = machine.zoned(date, &test.zone)?;
                if probe.offer(date.part(test.part).as_bytes())? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn zoned(&self, date: Date, zone: &Zone) -> Outcome<Date> {
        Ok(match zone {
            Zone::Original => date,
            Zone::Local => date.in_zone(self.now()?.zone_minutes),
            Zone::Given(text) => match date::zone_minutes(&self.text(text)?) {
                Some(minutes) => date.in_zone(minutes),
                None => date,
            },
        })
    }

    /// Offers values to a matcher until one matches; then remembers what it captured.
    pub(super) fn match_values(
        &mut self,
        program: &Program,
        matcher: &Matcher,
        offer: impl FnOnce(&Self, &mut Probe<'_>) -> Outcome<bool>,
    ) -> Outcome<bool> {
        let (is, captures) = self.match_quietly(program, matcher, offer)?;
        if let (Some(captures), Some(frame)) = (captures, self.frames.last_mut()) {
            frame.captures = captures;
        }
        Ok(is)
    }

    /// The same, and what was captured is the caller's.
    pub(super) fn match_quietly(
        &mut self,
        program: &Program,
        matcher: &Matcher,
        offer: impl FnOnce(&Self, &mut Probe<'_>) -> Outcome<bool>,
    ) -> Outcome<(bool, Option<Captures>)> {
        let mut probe = self.probe(program, matcher)?;
        let mut is = offer(self, &mut probe)? || probe.finish();
        let mut captures = probe.captures.take();
        if matcher.kind == MatchType::List && !probe.values.is_empty() {
            let lists = probe.keys().iter().map(|key| key.to_vec()).collect();
            let values = std::mem::take(&mut probe.values);
            if let Some(found) = self.ask_text(Question::InList { lists, values })? {
                is = true;
                captures = program.uses_captures.then(|| Captures::whole(found));
            }
        }
        let steps = probe.steps();
        drop(probe);
        self.charge(steps)?;
        Ok((is, captures))
    }
}
