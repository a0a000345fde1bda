//! Runs a program, step by step, until it needs its host or is done.
//!
//! An operation that needs an answer which is not there stops before it has changed anything; once the
//! answer is there it runs again from its start. So nothing of a half-done test has to be kept.

mod actions;
mod body;
mod envelope;
mod expressions;
mod headers;
mod include;
mod loops;
mod mime;
mod rewrite;
mod tests;
mod values;

use std::cell::OnceCell;
use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::action::{Action, Actions, Keep};
use super::date::Date;
use super::limits::{Limit, Limits};
use super::matching::{Captures, MatchError};
use super::program::{Op, Program, Slot};
use super::question::{Answer, Octets, Question};
use crate::expr::{Answers, Lookups, NoLookups, Value};
use crate::mail::{Edit, Envelope, HeaderSection, MessageView};

/// What a machine wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An answer: [`Machine::answer`], then [`Machine::run`] again.
    Ask(Question),
    /// Nothing: these are the actions.
    Done(Actions),
    /// Nothing: the script failed. The message is kept as if there had been no script (RFC 5228 §2.10.6).
    Failed(RunError),
}

/// Why a script failed, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct RunError {
    /// The line of the command, in the script that was running.
    pub line: u32,
    /// What went wrong.
    pub kind: RunErrorKind,
}

/// What went wrong in a script that compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunErrorKind {
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// `error` (RFC 5463 §5).
    #[error("error: {0}")]
    Error(String),
    /// Actions that exclude each other (RFC 5429 §2.1).
    #[error("{0} cannot be combined with {1}")]
    Conflict(&'static str, &'static str),
    /// A text that was made of variables is not what the command takes.
    #[error("{0}")]
    Invalid(String),
    /// A script that is to be included cannot be.
    #[error("cannot include '{name}': {why}")]
    Include {
        /// The script.
        name: CompactString,
        /// Why not.
        why: &'static str,
    },
    /// The host could not answer.
    #[error("no answer: {0}")]
    Unanswered(CompactString),
}

/// Why an operation stopped.
#[derive(Debug)]
enum Stop {
    Ask(Question),
    Fail(RunErrorKind),
}

impl From<RunErrorKind> for Stop {
    fn from(kind: RunErrorKind) -> Stop {
        Stop::Fail(kind)
    }
}

impl From<Limit> for Stop {
    fn from(limit: Limit) -> Stop {
        Stop::Fail(RunErrorKind::Limit(limit))
    }
}

impl From<MatchError> for Stop {
    fn from(error: MatchError) -> Stop {
        Stop::Fail(match error {
            MatchError::Limit(limit) => RunErrorKind::Limit(limit),
            MatchError::Regex(why) => RunErrorKind::Invalid(format!("invalid regular expression: {why}")),
        })
    }
}

type Outcome<T> = Result<T, Stop>;

/// A program, lent or included.
#[derive(Debug, Clone)]
enum ProgramRef<'a> {
    Lent(&'a Program),
    Shared(Arc<Program>),
}

impl std::ops::Deref for ProgramRef<'_> {
    type Target = Program;
    fn deref(&self) -> &Program {
        match self {
            ProgramRef::Lent(program) => program,
            ProgramRef::Shared(program) => program,
        }
    }
}

/// A script that is running: the first one, or an included one.
#[derive(Debug)]
struct Frame<'a> {
    program: ProgramRef<'a>,
    at: usize,
    locals: Vec<Octets>,
    /// Where the program's global variables are in the machine.
    globals: Vec<u16>,
    captures: Captures,
    /// Variables that `let` has given a value which is no text.
    values: Vec<(Slot, Value<'static>)>,
    /// Its name; empty for the first one.
    name: CompactString,
}

/// Evaluates one script for one message.
pub struct Machine<'a> {
    frames: SmallVec<[Frame<'a>; 1]>,
    view: MessageView<'a>,
    envelope: &'a Envelope,
    limits: Limits,
    /// The separators of `:user` and `:detail`.
    delimiters: CompactString,
    flag: bool,
    steps: u64,
    questions: usize,
    answers: Vec<(Question, Answer)>,
    pending: Option<Question>,
    lookups: &'a dyn Lookups,
    /// What the expression of this operation was answered, and the effects that it had.
    expression_answers: Answers,
    globals: Vec<(CompactString, Octets)>,
    variables_bytes: usize,
    /// The header section as edited so far.
    edited: Option<Box<HeaderSection>>,
    trace: OnceCell<Box<HeaderSection>>,
    edits: usize,
    actions: Vec<Action>,
    is_keep_cancelled: bool,
    /// The internal variable of RFC 5232 §2.
    flags: Vec<CompactString>,
    /// Changes of the envelope by the script, which its own tests see.
    envelope_changes: Vec<(super::program::EnvelopePart, Octets)>,
    included: Vec<(CompactString, bool)>,
    includes: usize,
    content: loops::Content,
    /// From of a message that `enclose` makes.
    author: CompactString,
}

impl<'a> Machine<'a> {
    /// A machine before the first command. Lends everything; `envelope` is usually that of all recipients.
    pub fn new(program: &'a Program, view: &MessageView<'a>, envelope: &'a Envelope, limits: Limits) -> Machine<'a> {
        let mut machine = Machine {
            frames: SmallVec::new(),
            view: *view,
            envelope,
            limits,
            delimiters: CompactString::const_new("+"),
            flag: false,
            steps: 0,
            questions: 0,
            answers: Vec::new(),
            pending: None,
            lookups: &NoLookups,
            expression_answers: Answers::new(),
            globals: Vec::new(),
            variables_bytes: 0,
            edited: None,
            trace: OnceCell::new(),
            edits: 0,
            actions: Vec::new(),
            is_keep_cancelled: false,
            flags: Vec::new(),
            envelope_changes: Vec::new(),
            included: Vec::new(),
            includes: 0,
            content: loops::Content::default(),
            author: CompactString::default(),
        };
        // The globals of one script always fit: a program has at most as many as a limit may be.
        let _ = machine.enter(ProgramRef::Lent(program), CompactString::default());
        machine
    }

    /// The characters that separate `:user` from `:detail`: `+` unless told.
    pub fn set_delimiters(&mut self, delimiters: &str) {
        self.delimiters = CompactString::from(delimiters);
    }

    /// Changes the limits for what follows.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The From of a message that `enclose` makes; the message's own unless told.
    pub fn with_author(mut self, author: &str) -> Machine<'a> {
        self.author = CompactString::from(author);
        self
    }

    /// Goes on with another message and envelope: what a driver of tests needs. Edits are forgotten.
    pub fn set_message(&mut self, view: &MessageView<'a>, envelope: &'a Envelope) {
        self.view = *view;
        self.envelope = envelope;
        self.edited = None;
        self.trace = OnceCell::new();
        self.content = loops::Content::default();
        self.envelope_changes.clear();
        self.answers.clear();
    }

    /// Sets the internal variable of RFC 5232 §2: the flags that a stored message has.
    pub fn set_flags<'f>(&mut self, flags: impl IntoIterator<Item = &'f str>) {
        self.flags = flags.into_iter().map(CompactString::from).collect();
    }

    /// Forgets every action so far, as if the script began here.
    pub fn reset_actions(&mut self) {
        self.actions.clear();
        self.is_keep_cancelled = false;
        self.edits = 0;
    }

    /// The actions so far, with the implicit keep if nothing cancelled it yet.
    pub fn actions(&self) -> Actions {
        let mut list = self.actions.clone();
        self.close(&mut list);
        Actions { list }
    }

    /// The header section as the script has changed it.
    pub fn header(&self) -> &HeaderSection {
        self.edited.as_deref().unwrap_or(self.view.header)
    }

    /// Runs until an answer is needed or the script is over; after that the machine is spent.
    pub fn run(&mut self) -> Step {
        if let Some(question) = &self.pending {
            return Step::Ask(question.clone());
        }
        match self.go() {
            Ok(()) => {
                let mut list = std::mem::take(&mut self.actions);
                self.close(&mut list);
                Step::Done(Actions { list })
            }
            Err(Stop::Ask(question)) => {
                self.questions += 1;
                if self.questions > self.limits.questions {
                    return Step::Failed(self.failure(Limit::Questions.into()));
                }
                self.pending = Some(question.clone());
                Step::Ask(question)
            }
            Err(Stop::Fail(kind)) => Step::Failed(self.failure(kind)),
        }
    }

    /// Answers the question that [`Machine::run`] has put.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(question) = self.pending.take() {
            if let Question::Dns(asked) = &question {
                self.answer_expression(asked.clone(), &answer);
            }
            self.answers.push((question, answer));
        }
    }

    fn failure(&self, kind: RunErrorKind) -> RunError {
        let line = self.frames.last().and_then(|frame| frame.program.lines.get(frame.at)).copied().unwrap_or(0);
        RunError { line, kind }
    }

    /// What stands at the end: the implicit keep, or that nothing became of the message.
    fn close(&self, list: &mut Vec<Action>) {
        if !self.is_keep_cancelled {
            list.push(Action::Keep(Keep { is_implicit: true, flags: self.flags.clone() }));
            return;
        }
        let takes = |action: &Action| {
            matches!(action, Action::Keep(_) | Action::Redirect(_) | Action::FileInto(_) | Action::Reject(_))
        };
        if !list.iter().any(takes) {
            list.push(Action::Discard);
        }
    }

    fn go(&mut self) -> Outcome<()> {
        while let Some(frame) = self.frames.last() {
            let program = frame.program.clone();
            self.run_frame(&program)?;
        }
        Ok(())
    }

    /// Runs the topmost frame until it ends or another one is on top.
    fn run_frame(&mut self, program: &Program) -> Outcome<()> {
        let depth = self.frames.len();
        loop {
            let Some(frame) = self.frames.last() else { return Ok(()) };
            let at = frame.at;
            let op = program.ops.get(at).copied().unwrap_or(Op::Return);
            self.charge(1)?;
            let next = match op {
                Op::Test(index) => {
                    self.flag = match program.tests.get(index as usize) {
                        Some(test) => self.test(program, test)?,
                        None => false,
                    };
                    at + 1
                }
                Op::Known(is) => {
                    self.flag = is;
                    at + 1
                }
                Op::Not => {
                    self.flag = !self.flag;
                    at + 1
                }
                Op::Jump(target) => target as usize,
                Op::JumpIf(target) if self.flag => target as usize,
                Op::JumpUnless(target) if !self.flag => target as usize,
                Op::JumpIf(_) | Op::JumpUnless(_) => at + 1,
                Op::Act(index) => {
                    if let Some(command) = program.commands.get(index as usize) {
                        self.act(program, command)?;
                    }
                    at + 1
                }
                Op::EnterParts => {
                    self.enter_parts()?;
                    at + 1
                }
                Op::NextPart(end) if !self.next_part() => end as usize,
                Op::NextPart(_) => at + 1,
                Op::LeaveParts(levels) => {
                    self.leave_parts(levels as usize);
                    at + 1
                }
                Op::Stop => {
                    self.frames.clear();
                    return Ok(());
                }
                Op::Return => {
                    self.leave();
                    return Ok(());
                }
            };
            self.forget_answers();
            // An include has put a frame on top; it is entered from the loop above.
            if let Some(frame) = self.frames.get_mut(depth - 1) {
                frame.at = next;
            }
            if self.frames.len() != depth {
                return Ok(());
            }
        }
    }

    fn charge(&mut self, steps: u64) -> Outcome<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.limits.steps { Err(Limit::Steps.into()) } else { Ok(()) }
    }

    /// The answer to a question, or the stop that asks it.
    fn ask(&self, question: Question) -> Outcome<&Answer> {
        match self.answers.iter().find(|(asked, _)| *asked == question) {
            Some((_, Answer::Failed(why))) => Err(RunErrorKind::Unanswered(why.clone()).into()),
            Some((_, answer)) => Ok(answer),
            None => Err(Stop::Ask(question)),
        }
    }

    fn ask_bool(&self, question: Question) -> Outcome<bool> {
        match self.ask(question)? {
            Answer::Bool(is) => Ok(*is),
            _ => Err(mismatch("yes or no")),
        }
    }

    fn ask_text(&self, question: Question) -> Outcome<Option<&[u8]>> {
        match self.ask(question)? {
            Answer::Text(text) => Ok(text.as_deref()),
            _ => Err(mismatch("a text")),
        }
    }

    fn now(&self) -> Outcome<Date> {
        match self.ask(Question::Time)? {
            Answer::Time { now, offset_minutes } => {
                Ok(Date { unix_seconds: now.unix_seconds(), zone_minutes: *offset_minutes })
            }
            _ => Err(mismatch("the time")),
        }
    }

    /// What does not change while a script runs is asked once; the rest is asked again by the next operation.
    fn forget_answers(&mut self) {
        if !self.answers.is_empty() {
            self.answers.retain(|(question, _)| {
                matches!(
                    question,
                    Question::Time | Question::Environment(_) | Question::Score(_) | Question::Authenticated
                )
            });
        }
    }

    fn add(&mut self, action: Action) -> Outcome<()> {
        let edits = usize::from(matches!(action, Action::Edit(_)));
        self.edits += edits;
        if self.edits > self.limits.edits {
            return Err(Limit::Edits.into());
        }
        if edits == 0 && self.actions.len() - self.edits.min(self.actions.len()) >= self.limits.actions {
            return Err(Limit::Actions.into());
        }
        self.actions.push(action);
        Ok(())
    }

    /// Header edits: applied to what the script sees from here on, and given to the host.
    fn edit(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        if edits.is_empty() {
            return Ok(());
        }
        self.edited = Some(Box::new(self.header().apply(&edits)));
        for edit in edits {
            self.add(Action::Edit(edit))?;
        }
        Ok(())
    }
}

fn mismatch(expected: &str) -> Stop {
    Stop::Fail(RunErrorKind::Unanswered(CompactString::from(format!("the host was asked for {expected}"))))
}
