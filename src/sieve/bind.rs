//! Compares a call with its signature: tags, positional arguments, tests, block.

use super::ast::{Argument, ArgumentKind, Call};
use super::capability::{Capability, CapabilitySet};
use super::fault::Faults;
use super::signature::{Kind, Positional, Signature, Tag, Tests};
use super::signatures;

/// A call whose arguments are what its signature says.
pub(super) struct Bound<'c, 's> {
    pub call: &'c Call<'s>,
    pub signature: &'c Signature,
    tags: Vec<BoundTag<'c, 's>>,
    positional: Vec<Option<&'c Argument<'s>>>,
}

struct BoundTag<'c, 's> {
    tag: &'c Tag,
    at: usize,
    value: Option<&'c Argument<'s>>,
}

impl<'c, 's> Bound<'c, 's> {
    /// Where a tag stands, if it does.
    pub fn has(&self, name: &str) -> Option<usize> {
        self.tags.iter().find(|bound| bound.tag.name == name).map(|bound| bound.at)
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&'c Argument<'s>> {
        self.tags.iter().find(|bound| bound.tag.name == name).and_then(|bound| bound.value)
    }

    /// The tag of a family, where it stands, and its value.
    pub fn of_family(&self, family: u8) -> Option<(&'static str, usize, Option<&'c Argument<'s>>)> {
        let bound = self.tags.iter().find(|bound| bound.tag.family == family)?;
        Some((bound.tag.name, bound.at, bound.value))
    }

    /// Every tag and its value.
    pub fn tags(&self) -> impl Iterator<Item = (&'static str, Option<&'c Argument<'s>>)> {
        self.tags.iter().map(|bound| (bound.tag.name, bound.value))
    }

    /// A positional argument of the signature, if it stands there.
    pub fn positional(&self, index: usize) -> Option<&'c Argument<'s>> {
        self.positional.get(index).copied().flatten()
    }

    /// The positional arguments that stand there.
    pub fn arguments(&self) -> impl ExactSizeIterator<Item = &'c Argument<'s>> {
        self.positional.iter().flatten().copied().collect::<Vec<_>>().into_iter()
    }
}

/// What a script may use, and what it has used of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Required {
    pub active: CapabilitySet,
    pub used: CapabilitySet,
}

impl Required {
    /// Whether it may be used; then it counts as used.
    pub fn uses(&mut self, capability: Capability) -> bool {
        self.used = self.used.with(CapabilitySet::of(&[capability]));
        self.active.contains(capability)
    }
}

/// The call bound to its signature, or nothing and the fault is told.
pub(super) fn bind<'c, 's>(
    call: &'c Call<'s>,
    signature: &'c Signature,
    required: &mut Required,
    faults: &mut Faults<'_>,
) -> Option<Bound<'c, 's>> {
    let mut bound = Bound { call, signature, tags: Vec::new(), positional: Vec::new() };
    let mut positional = Vec::new();
    let mut arguments = call.arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let ArgumentKind::Tag(name) = argument.kind else {
            positional.push(argument);
            continue;
        };
        let tag = find_tag(&bound, name, argument.at, required, faults)?;
        if !positional.is_empty() {
            let message = format!(
                "unexpected tagged argument ':{}' behind the positional arguments of the {}",
                tag.name,
                title(signature)
            );
            faults.error(argument.at, message);
            return None;
        }
        let value = match tag.value {
            None => None,
            Some(kind) => {
                let value = arguments.next_if(|next| accepts(kind, &next.kind));
                if value.is_none() {
                    let found = arguments.peek().map_or("nothing", |next| next.kind.describe());
                    let message = format!(
                        "the ':{}' tag of the {} expects a {} behind it, but {found} was found",
                        tag.name,
                        title(signature),
                        kind.describe()
                    );
                    faults.unexpected(argument.at, message, found, kind.describe());
                    return None;
                }
                value
            }
        };
        bound.tags.push(BoundTag { tag, at: argument.at, value });
    }
    let has_positional = bind_positional(&mut bound, &positional, faults);
    let is_sound = check_shape(&bound, has_positional, faults);
    is_sound.then_some(bound)
}

/// The signature as messages name it: `header test`.
pub(super) fn title(signature: &Signature) -> String {
    format!("{} {}", signature.name, signature.role())
}

fn accepts(kind: Kind, found: &ArgumentKind<'_>) -> bool {
    matches!(
        (kind, found),
        (Kind::Number, ArgumentKind::Number(_))
            | (Kind::Text | Kind::List, ArgumentKind::Text(_))
            | (Kind::List, ArgumentKind::List(_))
    )
}

fn find_tag<'c>(
    bound: &Bound<'c, '_>,
    name: &str,
    at: usize,
    required: &mut Required,
    faults: &mut Faults<'_>,
) -> Option<&'c Tag> {
    let signature = bound.signature;
    let is = |tag: &&Tag| tag.name.eq_ignore_ascii_case(name);
    let Some(tag) = signature.tags.iter().find(is) else {
        let known = signature.tags.iter().filter(|tag| tag.needs.is_none_or(|c| required.active.contains(c)));
        let known: Vec<_> = known.map(|tag| format!("':{}'", tag.name)).collect();
        let expected =
            if known.is_empty() { "it takes none".to_owned() } else { format!("known are {}", known.join(", ")) };
        let message = format!("unknown tagged argument ':{name}' for the {} ({expected})", title(signature));
        faults.unexpected(at, message, &format!(":{name}"), &expected);
        return None;
    };
    if let Some(capability) = tag.needs.filter(|&capability| !required.uses(capability)) {
        let message = format!(
            "unknown tagged argument ':{name}' for the {}: the script does not require \"{}\"",
            title(signature),
            capability.name()
        );
        faults.error(at, message);
        return None;
    }
    let clash = bound
        .tags
        .iter()
        .find(|other| other.tag.name == tag.name || (tag.family != 0 && other.tag.family == tag.family));
    if let Some(other) = clash {
        let message = if other.tag.name == tag.name {
            format!("unexpected duplicate tagged argument ':{}' for the {}", tag.name, title(signature))
        } else {
            format!(
                "unexpected tagged argument ':{}' for the {}: ':{}' stands before it",
                tag.name,
                title(signature),
                other.tag.name
            )
        };
        faults.error(at, message);
        return None;
    }
    Some(tag)
}

fn bind_positional<'c, 's>(bound: &mut Bound<'c, 's>, found: &[&'c Argument<'s>], faults: &mut Faults<'_>) -> bool {
    let signature = bound.signature;
    let wanted: &[Positional] = &signature.positional;
    let optional = wanted.iter().filter(|p| p.is_optional).count();
    let required = wanted.len() - optional;
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let are = if found.len() == 1 { "is" } else { "are" };
    if found.len() < required || found.len() > wanted.len() {
        let at = found.get(wanted.len()).map_or(bound.call.at, |extra| extra.at);
        let verb = if found.len() < required { "requires" } else { "takes" };
        let n = if found.len() < required { required } else { wanted.len() };
        let message = format!(
            "the {} {verb} {n} positional argument{}, but {} {are} specified",
            title(signature),
            plural(n),
            found.len()
        );
        faults.error(at, message);
        return false;
    }
    let skips = wanted.len() - found.len();
    let mut found = found.iter().copied().enumerate();
    let mut skipped = 0;
    for position in wanted {
        if position.is_optional && skipped < skips {
            skipped += 1;
            bound.positional.push(None);
            continue;
        }
        let Some((index, argument)) = found.next() else { return false };
        if !accepts(position.kind, &argument.kind) {
            let message = format!(
                "the {} expects a {} as argument {} ({}), but a {} was found",
                title(signature),
                position.kind.describe(),
                index + 1,
                position.name,
                argument.kind.describe()
            );
            faults.unexpected(argument.at, message, argument.kind.describe(), position.kind.describe());
            return false;
        }
        bound.positional.push(Some(argument));
    }
    true
}

/// Tests and block.
fn check_shape(bound: &Bound<'_, '_>, is_sound: bool, faults: &mut Faults<'_>) -> bool {
    let (call, signature) = (bound.call, bound.signature);
    match signature.tests {
        Tests::None => {
            if let Some((at, message)) = spurious_tests(call, signature, is_sound) {
                faults.error(at, message);
                return false;
            }
        }
        _ if !is_sound => return false,
        Tests::One if call.has_test_list => {
            faults.error(call.at, format!("the {} takes one test, not a list of tests", title(signature)));
            return false;
        }
        Tests::One if call.tests.is_empty() => {
            faults.error(call.at, format!("the {} requires a test", title(signature)));
            return false;
        }
        Tests::Many if !call.has_test_list => {
            faults.error(call.at, format!("the {} requires a list of tests in parentheses", title(signature)));
            return false;
        }
        Tests::One | Tests::Many => {}
    }
    if signature.is_test {
        return is_sound;
    }
    match (&call.block, signature.has_block) {
        (Some(_), false) => {
            faults.error(call.at, format!("the {} takes no block", title(signature)));
            false
        }
        _ if !is_sound => false,
        (None, true) => {
            faults.error(call.at, format!("the {} requires a block", title(signature)));
            false
        }
        _ => true,
    }
}

/// What is wrong with tests where none are taken, and where; a typing error that explains them is told instead.
fn spurious_tests(call: &Call<'_>, signature: &Signature, is_sound: bool) -> Option<(usize, String)> {
    let test = call.tests.first()?;
    if !call.has_test_list && signature.tags.iter().any(|tag| tag.name.eq_ignore_ascii_case(test.name)) {
        return Some((test.at, format!("missing colon before '{}' tag of the {}", test.name, title(signature))));
    }
    if !is_sound {
        return None;
    }
    if signature.verb == super::signature::Verb::Else && test.name.eq_ignore_ascii_case("if") {
        return Some((test.at, "'else' with a test: 'else if' is written 'elsif'".to_owned()));
    }
    let is_known_test = signatures::find(&[], test.name, true).is_some_and(|row| row.is_test);
    if !signature.is_test && !call.has_test_list && !is_known_test {
        return Some((call.at, format!("missing semicolon behind the {}", title(signature))));
    }
    let what = if signature.is_test { "sub-tests" } else { "tests" };
    Some((test.at, format!("the {} accepts no {what}, but tests are specified", title(signature))))
}
