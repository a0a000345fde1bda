//! What surrounds an evaluation: variables, lookups, and answers to questions that need I/O.

use std::cell::RefCell;

use compact_str::CompactString;

use super::value::Value;
use super::variable::Variable;

/// The facts of the moment. A driver implements it over what it holds and lends its texts.
pub trait Scope {
    /// The value of a variable; [`Value::EMPTY`] for what has none. Asked only for variables of the
    /// set that the expression was compiled with.
    fn variable(&self, variable: Variable) -> Value<'_>;

    /// The value of a variable of the embedding language, by the number that it was given when the expression
    /// was compiled.
    fn local(&self, _number: u16) -> Value<'_> {
        Value::EMPTY
    }

    /// Directories, lists and counters.
    fn lookups(&self) -> &dyn Lookups {
        &NoLookups
    }

    /// The answers so far to the questions of this evaluation.
    fn answers(&self) -> Option<&Answers> {
        None
    }
}

/// Directories, lists and counters as expressions ask them; nothing here may wait.
///
/// `""` names the default directory or store, `"*"` every directory.
pub trait Lookups {
    /// `is_local_domain`.
    fn is_local_domain(&self, directory: &str, domain: &str) -> bool;
    /// `is_local_address`.
    fn is_local_address(&self, directory: &str, address: &str) -> bool;
    /// `key_get`: the value of a key.
    fn key_get(&self, store: &str, key: &str) -> Option<Value<'_>>;
    /// `key_exists`.
    fn key_exists(&self, store: &str, key: &str) -> bool;
    /// `key_set`: whether the value was stored.
    fn key_set(&self, store: &str, key: &str, value: Value<'_>) -> bool;
    /// `counter_get`: zero for a counter that is not there.
    fn counter_get(&self, store: &str, key: &str) -> i64;
    /// `counter_incr`: the counter's new value.
    fn counter_incr(&self, store: &str, key: &str, by: i64) -> i64;
}

/// Knows no domain, no address and no key.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookups;

impl Lookups for NoLookups {
    fn is_local_domain(&self, _: &str, _: &str) -> bool {
        false
    }
    fn is_local_address(&self, _: &str, _: &str) -> bool {
        false
    }
    fn key_get(&self, _: &str, _: &str) -> Option<Value<'_>> {
        None
    }
    fn key_exists(&self, _: &str, _: &str) -> bool {
        false
    }
    fn key_set(&self, _: &str, _: &str, _: Value<'_>) -> bool {
        false
    }
    fn counter_get(&self, _: &str, _: &str) -> i64 {
        0
    }
    fn counter_incr(&self, _: &str, _: &str, _: i64) -> i64 {
        0
    }
}

/// What `dns_query` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// Addresses of both families.
    Ip,
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
    /// Host names by preference.
    Mx,
    /// Texts, the strings of one record joined.
    Txt,
    /// Names of an address.
    Ptr,
}

impl QueryKind {
    pub(super) const NAMES: &'static [&'static str] = &["ip", "ipv4", "ipv6", "mx", "txt", "ptr"];

    pub(super) fn from_name(name: &str) -> Option<QueryKind> {
        use QueryKind::*;
        let kinds = [Ip, Ipv4, Ipv6, Mx, Txt, Ptr];
        QueryKind::NAMES.iter().position(|n| *n == name).and_then(|i| kinds.get(i).copied())
    }
}

/// What an evaluation waits for. The driver finds out, adds the answer and evaluates again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name, or for [`QueryKind::Ptr`] an address.
    pub name: CompactString,
    /// The kind of record.
    pub kind: QueryKind,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The records' contents; empty when there are none.
    Records(Vec<CompactString>),
    /// The resolver could not tell: the evaluation fails.
    Failed,
}

/// The answers to the questions of one decision, and the effects that its expressions had. A decision may
/// evaluate several expressions, and each again after every answer: an effect happens once for each place
/// in each expression. Start the next decision with a new one.
#[derive(Debug, Default)]
pub struct Answers {
    answers: Vec<(Question, Answer)>,
    /// Results of `key_set` and `counter_incr` by place, so that evaluating again does not repeat them.
    effects: RefCell<Vec<(EffectPlace, i64)>>,
}

/// Where an effect happens: the address of its program, which tells programs apart, and the step in it.
pub(super) type EffectPlace = (usize, usize);

impl Answers {
    /// Nothing is answered yet.
    pub fn new() -> Answers {
        Answers::default()
    }

    /// Adds what the driver found out.
    pub fn add(&mut self, question: Question, answer: Answer) {
        self.answers.push((question, answer));
    }

    pub(super) fn answer(&self, question: &Question) -> Option<&Answer> {
        self.answers.iter().find(|(asked, _)| asked == question).map(|(_, answer)| answer)
    }

    /// The effect at a place of a program, which happens once.
    pub(super) fn once(&self, place: EffectPlace, effect: impl FnOnce() -> i64) -> i64 {
        let known = self.effects.borrow().iter().find(|(at, _)| *at == place).map(|&(_, result)| result);
        known.unwrap_or_else(|| {
            let result = effect();
            self.effects.borrow_mut().push((place, result));
            result
        })
    }
}

/// Why an evaluation has no value: our configuration's fault, or the moment's; the default holds then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The value does not fit the setting.
    #[error("the value {found} is not {expected}")]
    Unfit {
        /// The value, shortened.
        found: CompactString,
        /// What the setting takes.
        expected: CompactString,
    },
    /// A text or list beyond the limits.
    #[error("a text or list grows too large")]
    TooLarge,
    /// The resolver could not answer.
    #[error("no answer about {0}")]
    Unanswered(CompactString),
    /// A question where the setting must be known at once.
    #[error("a question to the DNS where the setting cannot wait")]
    CannotWait,
}

/// Why an evaluation stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It waits: answer, add to the scope's [`Answers`], evaluate again.
    Pending(Question),
    /// It failed.
    Error(EvalError),
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Stop {
        Stop::Error(error)
    }
}
