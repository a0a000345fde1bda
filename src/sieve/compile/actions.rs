//! Commands by their verbs.

use super::super::address;
use super::super::bind::Bound;
use super::super::capability::Capability;
use super::super::lexer::shortened;
use super::super::notify;
use super::super::program::{
    By, Command, FileIntoCommand, FlagVerb, HostArgument, HostCall, Modifier, NotifyCommand, Occurrence,
    RedirectCommand, SetTarget, Slot, Text, VacationCommand,
};
use super::super::signature::{Kind, Verb};
use super::super::signatures::{BY, LOCATION, MATCH_TYPE};
use super::matcher::is_field_name;
use super::{ArgumentKind, Builder, number, strings};

impl Builder<'_, '_> {
    pub(super) fn command(&mut self, bound: &Bound<'_, '_>) {
        if let Some(command) = self.lower_command(bound) {
            self.emit_command(command);
        }
    }

    fn lower_command(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        match bound.signature.verb {
            Verb::Keep => Some(Command::Keep { flags: bound.tag("flags").map(|flags| self.texts(flags)) }),
            Verb::Discard => Some(Command::Discard),
            Verb::Redirect => self.redirect(bound),
            Verb::Fileinto => self.file_into(bound),
            Verb::Reject => Some(Command::Reject { reason: self.one_text(bound.positional(0)?), is_ereject: false }),
            Verb::Ereject => Some(Command::Reject { reason: self.one_text(bound.positional(0)?), is_ereject: true }),
            Verb::Set => self.set(bound),
            Verb::Addheader => self.add_header(bound),
            Verb::Deleteheader => self.delete_header(bound),
            Verb::Setflag => self.flags(bound, FlagVerb::Set),
            Verb::Addflag => self.flags(bound, FlagVerb::Add),
            Verb::Removeflag => self.flags(bound, FlagVerb::Remove),
            Verb::Notify => self.notify(bound),
            Verb::Vacation => self.vacation(bound),
            Verb::Include => self.include(bound),
            Verb::Global => self.global(bound),
            Verb::Error => Some(Command::Error(self.one_text(bound.positional(0)?))),
            Verb::EvalCommand => Some(Command::Eval(Box::new(self.expression(bound, bound.positional(0)?)?))),
            Verb::Let => match self.variable(bound, bound.positional(0)?)? {
                SetTarget::Slot(slot) => {
                    Some(Command::Let { slot, expression: Box::new(self.expression(bound, bound.positional(1)?)?) })
                }
                SetTarget::Envelope(_) => {
                    self.argument_fault(bound, bound.call.at, "'let' sets variables: the envelope is changed by 'set'");
                    None
                }
            },
            Verb::Replace => self.replace(bound),
            Verb::Enclose => self.enclose(bound),
            Verb::Extracttext => self.extract_text(bound),
            Verb::Convert => Some(Command::Convert(self.convert(bound)?)),
            Verb::Host => Some(Command::Host(Box::new(self.host_call(bound)?))),
            _ => None,
        }
    }

    /// An address that is known now must be one.
    pub(super) fn check_address(&mut self, bound: &Bound<'_, '_>, at: usize, text: &Text) -> Option<()> {
        let Text::Literal(raw) = text else { return Some(()) };
        if address::outgoing(raw).is_some() {
            return Some(());
        }
        let shown = shortened(&String::from_utf8_lossy(raw));
        self.argument_fault(bound, at, &format!("'{shown}' is no address"));
        None
    }

    fn redirect(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let argument = bound.positional(0)?;
        let address = self.one_text(argument);
        let is_list = bound.has("list").is_some();
        if !is_list {
            self.check_address(bound, argument.at, &address)?;
        }
        let by = match bound.of_family(BY) {
            Some(("bytimerelative", _, Some(seconds))) => Some(By::Relative(number(seconds))),
            Some((_, _, Some(date))) => Some(By::Absolute(self.one_text(date))),
            _ => None,
        };
        if by.is_none() && (bound.has("bymode").is_some() || bound.has("bytrace").is_some()) {
            let message = "':bymode' and ':bytrace' need ':bytimerelative' or ':bytimeabsolute'";
            self.argument_fault(bound, bound.call.at, message);
            return None;
        }
        Some(Command::Redirect(Box::new(RedirectCommand {
            address,
            is_list,
            is_copy: bound.has("copy").is_some(),
            notify: self.tag_text(bound, "notify"),
            ret: self.tag_text(bound, "ret"),
            by,
            by_mode: self.tag_text(bound, "bymode"),
            is_by_trace: bound.has("bytrace").is_some(),
        })))
    }

    fn file_into(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let argument = bound.positional(0)?;
        let mailbox = self.one_text(argument);
        if let Text::Literal(name) = &mailbox
            && (name.is_empty() || std::str::from_utf8(name).is_err())
        {
            let shown = shortened(&String::from_utf8_lossy(name));
            self.argument_fault(bound, argument.at, &format!("invalid folder name '{shown}'"));
            return None;
        }
        Some(Command::FileInto(Box::new(FileIntoCommand {
            mailbox,
            is_copy: bound.has("copy").is_some(),
            is_create: bound.has("create").is_some(),
            flags: bound.tag("flags").map(|flags| self.texts(flags)),
            mailbox_id: self.tag_text(bound, "mailboxid"),
            special_use: self.tag_text(bound, "specialuse"),
        })))
    }

    fn set(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let slot = self.variable(bound, bound.positional(0)?)?;
        let value = self.one_text(bound.positional(1)?);
        let modifiers = modifiers(bound);
        Some(Command::Set { slot, modifiers, value })
    }

    fn check_field(&mut self, bound: &Bound<'_, '_>, at: usize, name: &Text) -> Option<()> {
        let Text::Literal(name) = name else { return Some(()) };
        if is_field_name(name) {
            return Some(());
        }
        let shown = shortened(&String::from_utf8_lossy(name));
        self.argument_fault(bound, at, &format!("'{shown}' is no name of a header field"));
        None
    }

    fn add_header(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let (field, content) = (bound.positional(0)?, bound.positional(1)?);
        let name = self.one_text(field);
        let value = self.one_text(content);
        self.check_field(bound, field.at, &name)?;
        if let Text::Literal(value) = &value
            && value.contains(&0)
        {
            self.argument_fault(bound, content.at, "the value of a field holds no NUL");
            return None;
        }
        Some(Command::AddHeader { name, value, is_last: bound.has("last").is_some() })
    }

    fn delete_header(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let field = bound.positional(0)?;
        let occurrence: Option<Occurrence> = self.occurrence(bound)?;
        let name = self.one_text(field);
        self.check_field(bound, field.at, &name)?;
        let matcher = match bound.positional(1) {
            Some(patterns) => Some(self.matcher(bound, patterns)?),
            None => None,
        };
        if matcher.is_none() && bound.of_family(MATCH_TYPE).is_some() {
            self.faults.warning(bound.call.at, "a match type without value patterns: every field of that name goes");
        }
        Some(Command::DeleteHeader { name, occurrence, matcher })
    }

    fn flags(&mut self, bound: &Bound<'_, '_>, verb: FlagVerb) -> Option<Command> {
        let slot: Option<Slot> = match bound.positional(0) {
            Some(argument) => {
                let (raw, at) = *strings(argument).first()?;
                Some(self.named_slot(bound, raw, at)?)
            }
            None => None,
        };
        Some(Command::Flags { verb, slot, flags: self.texts(bound.positional(1)?) })
    }

    fn notify(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let argument = bound.positional(0)?;
        let method = self.one_text(argument);
        if let Text::Literal(uri) = &method
            && let Err(why) = notify::check_method(uri)
        {
            self.argument_fault(bound, argument.at, &why);
            return None;
        }
        let from = self.tag_text(bound, "from");
        if let (Some(from), Some(argument)) = (&from, bound.tag("from")) {
            self.check_address(bound, argument.at, from)?;
        }
        let importance = self.tag_text(bound, "importance");
        if let (Some(Text::Literal(text)), Some(argument)) = (&importance, bound.tag("importance"))
            && !matches!(**text, [b'1'..=b'3'])
        {
            self.argument_fault(bound, argument.at, "':importance' is \"1\", \"2\" or \"3\"");
            return None;
        }
        let mut is_sound = true;
        let mut options = Vec::new();
        for (raw, at) in bound.tag("options").map(strings).unwrap_or_default() {
            let option = self.text(raw, at);
            if let Text::Literal(option) = &option
                && !notify::is_option(option)
            {
                self.argument_fault(bound, at, "an option is written as \"name=value\"");
                is_sound = false;
            }
            options.push(option);
        }
        let message = self.tag_text(bound, "message");
        let options = options.into();
        is_sound.then(|| Command::Notify(Box::new(NotifyCommand { method, from, importance, options, message })))
    }

    fn vacation(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let from = self.tag_text(bound, "from");
        if let (Some(from), Some(argument)) = (&from, bound.tag("from")) {
            self.check_address(bound, argument.at, from)?;
        }
        let seconds = match (bound.tag("days"), bound.tag("seconds")) {
            (Some(days), _) => Some(number(days).saturating_mul(24 * 3600)),
            (_, seconds) => seconds.map(number),
        };
        let addresses = bound.tag("addresses").map(|list| self.texts(list)).unwrap_or_default();
        Some(Command::Vacation(Box::new(VacationCommand {
            reason: self.one_text(bound.positional(0)?),
            seconds,
            subject: self.tag_text(bound, "subject"),
            from,
            addresses,
            is_mime: bound.has("mime").is_some(),
            handle: self.tag_text(bound, "handle"),
        })))
    }

    /// `include` (RFC 6609 §3.2): the name is constant, so that a host can find all scripts beforehand.
    fn include(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let argument = bound.positional(0)?;
        let name = self.constant(bound, argument, "the name of a script")?;
        if !is_script_name(&name) {
            let shown = shortened(&String::from_utf8_lossy(&name));
            self.argument_fault(bound, argument.at, &format!("invalid script name '{shown}'"));
            return None;
        }
        Some(Command::Include {
            name: String::from_utf8_lossy(&name).into(),
            is_global: bound.of_family(LOCATION).is_some_and(|(name, ..)| name == "global"),
            is_once: bound.has("once").is_some(),
            is_optional: bound.has("optional").is_some(),
        })
    }

    fn global(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let argument = bound.positional(0)?;
        if !self.required.uses(Capability::Variables) {
            self.argument_fault(bound, argument.at, "global variables need the \"variables\" extension");
            return None;
        }
        for (raw, at) in strings(argument) {
            let Some(name) = self.plain_name(bound, raw, at) else { continue };
            if self.locals.iter().any(|local| local.eq_ignore_ascii_case(name)) {
                self.argument_fault(bound, at, &format!("'{name}' is a local variable already"));
                continue;
            }
            if self.global_slot(name).is_none() {
                self.argument_fault(bound, at, "too many variables");
            }
        }
        None
    }

    /// What the host added: its arguments, and with match types the keys, the last argument.
    pub(super) fn host_call(&mut self, bound: &Bound<'_, '_>) -> Option<HostCall> {
        let is_matching = bound.signature.tags.iter().any(|tag| tag.name == "comparator");
        let count = bound.arguments().len();
        let mut arguments = Vec::new();
        let mut matcher = None;
        for (i, argument) in bound.arguments().enumerate() {
            if is_matching && i + 1 == count {
                matcher = Some(self.matcher(bound, argument)?);
                break;
            }
            let kind = bound.signature.positional.get(i).map_or(Kind::Text, |p| p.kind);
            arguments.push(self.host_argument(argument, kind));
        }
        let mut tags = Vec::new();
        for (name, value) in bound.tags() {
            let kind = bound.signature.tags.iter().find(|tag| tag.name == name).and_then(|tag| tag.value);
            tags.push((name, value.map(|argument| self.host_argument(argument, kind.unwrap_or(Kind::Text)))));
        }
        Some(HostCall { name: bound.signature.name, tags: tags.into(), arguments: arguments.into(), matcher })
    }

    fn host_argument(&mut self, argument: &super::Argument<'_>, kind: Kind) -> HostArgument {
        match (&argument.kind, kind) {
            (ArgumentKind::Number(n), _) => HostArgument::Number(*n),
            (_, Kind::List) => HostArgument::List(self.texts(argument)),
            _ => HostArgument::Text(self.one_text(argument)),
        }
    }
}

/// The modifiers of a value in the order in which they act (RFC 5229 §4.1).
pub(super) fn modifiers(bound: &Bound<'_, '_>) -> Box<[Modifier]> {
    const ORDER: &[(&str, Modifier)] = &[
        ("lower", Modifier::Lower),
        ("upper", Modifier::Upper),
        ("lowerfirst", Modifier::LowerFirst),
        ("upperfirst", Modifier::UpperFirst),
        ("quotewildcard", Modifier::QuoteWildcard),
        ("quoteregex", Modifier::QuoteRegex),
        ("encodeurl", Modifier::EncodeUrl),
        ("length", Modifier::Length),
    ];
    ORDER.iter().filter(|(tag, _)| bound.has(tag).is_some()).map(|(_, m)| *m).collect()
}

/// RFC 5804 §1.6: no controls, no line separators; and no slash, since a host may keep scripts in files.
fn is_script_name(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| {
        !name.is_empty()
            && name.len() <= 512
            && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\u{2028}' | '\u{2029}'))
    })
}
