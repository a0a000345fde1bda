//! Runs one file of the suite: answers what the test language asks, and what scripts ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste::base::WallTime;
use posthaste::sieve::{
    Action, Actions, Answer, HostQuestion, HostValue, Included, Machine, Program, Question, Severity, Step,
};

use super::config::Config;
use super::language;
use super::store::{Message, Store, mailbox_name};

/// A test's name, and why it failed if it did.
type Outcome = (String, Option<String>);

/// Runs a file; its tests in their order.
pub fn run_file(path: &Path) -> Vec<Outcome> {
    let source = std::fs::read_to_string(path).unwrap();
    let program = match language::compiler().compile(&language::prepared(&source)) {
        Ok(compiled) => compiled.program,
        Err(faults) => {
            let told: Vec<_> =
                faults.iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
            return vec![("(the file)".into(), Some(told.join("; ")))];
        }
    };
    let mut host = Host::new(path.parent().unwrap());
    let (view, envelope) = host.message.leak();
    let mut machine = Machine::new(Box::leak(Box::new(program)), view, envelope, host.config.limits());
    loop {
        match machine.run() {
            Step::Ask(Question::Host(question)) => {
                let answer = host.command(&question, &mut machine);
                machine.answer(answer);
            }
            Step::Ask(question) => {
                let answer = host.answer(&question);
                machine.answer(answer);
            }
            Step::Done(_) => break,
            Step::Failed(error) => {
                host.fail(format!("the test itself failed, {error}; the rest of the file did not run"));
                break;
            }
        }
    }
    host.outcomes
}

struct Host {
    folder: PathBuf,
    message: Message,
    /// The flags that the message has where it is stored.
    flags: Vec<String>,
    config: Config,
    store: Store,
    script: Option<Arc<Program>>,
    errors: Vec<String>,
    /// Of the last script that was run; otherwise the test's own count.
    result: Option<Actions>,
    outcomes: Vec<Outcome>,
}

fn text(value: &HostValue) -> String {
    match value {
        HostValue::Number(n) => n.to_string(),
        HostValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
        HostValue::List(list) => list.iter().map(|t| String::from_utf8_lossy(t)).collect::<Vec<_>>().join(","),
    }
}

impl Host {
    fn new(folder: &Path) -> Host {
        Host {
            folder: folder.to_owned(),
            message: Message::new(b"\r\n", "sender@example.com", "user@example.com"),
            flags: Vec::new(),
            config: Config::default(),
            store: Store::default(),
            script: None,
            errors: Vec::new(),
            result: None,
            outcomes: Vec::new(),
        }
    }

    /// The first failure of the current test counts.
    fn fail(&mut self, why: String) {
        match self.outcomes.last_mut() {
            Some((_, failure @ None)) => *failure = Some(why),
            Some(_) => {}
            None => self.outcomes.push(("(before the first test)".into(), Some(why))),
        }
    }

    fn command(&mut self, question: &HostQuestion, machine: &mut Machine<'static>) -> Answer {
        let argument = |i: usize| question.arguments.get(i).map(text).unwrap_or_default();
        let index = match question.tag("index") {
            Some(HostValue::Number(n)) => Some(*n as usize),
            _ => None,
        };
        let is = match question.name {
            "test" => {
                self.outcomes.push((argument(0), None));
                self.errors.clear();
                true
            }
            "test_fail" => {
                self.fail(argument(0));
                true
            }
            "test_set" => {
                let HostValue::Text(value) = &question.arguments[1] else { return Answer::Bool(false) };
                self.set(&argument(0), value, machine);
                true
            }
            "test_config_set" => {
                self.config.0.insert(argument(0), argument(1));
                true
            }
            "test_config_unset" => {
                self.config.0.remove(&argument(0));
                true
            }
            "test_config_reload" => {
                machine.set_delimiters(self.config.delimiters());
                machine.set_limits(self.config.limits());
                self.show(machine);
                true
            }
            "test_mailbox_create" => {
                self.store.mailboxes.entry(mailbox_name(&argument(0))).or_default();
                true
            }
            "test_result_reset" => {
                self.result = None;
                machine.reset_actions();
                machine.set_flags(self.flags.iter().map(String::as_str));
                true
            }
            "test_error" => return Answer::Values(chosen(&self.errors, index)),
            "test_result_action" => return Answer::Values(chosen(&names(&self.current(machine)), index)),
            "test_script_compile" => self.compile(&argument(0)),
            "test_script_run" => self.run_script(),
            "test_multiscript" => match &question.arguments[0] {
                HostValue::List(scripts) => self.multiscript(scripts),
                _ => false,
            },
            "test_result_execute" => self.execute(machine),
            "test_message" => self.choose(question, machine),
            _ => true,
        };
        Answer::Bool(is)
    }

    fn set(&mut self, name: &str, value: &[u8], machine: &mut Machine<'static>) {
        let value_text = String::from_utf8_lossy(value).into_owned();
        match name {
            "message" => {
                let orig_to = self.message.orig_to.clone();
                self.message = Message { orig_to, ..Message::from_its_fields(value) };
                self.flags.clear();
                machine.set_flags([]);
            }
            "envelope.from" => self.message.from = value_text,
            "envelope.to" => {
                self.message.to = value_text;
                self.message.orig_to = None;
            }
            "envelope.orig_to" => self.message.orig_to = Some(value_text),
            _ => {}
        }
        self.show(machine);
    }

    fn show(&self, machine: &mut Machine<'static>) {
        let (view, envelope) = self.message.leak();
        machine.set_message(view, envelope);
    }

    fn current(&self, machine: &Machine<'static>) -> Actions {
        self.result.clone().unwrap_or_else(|| machine.actions())
    }

    /// Compiles a script and every script that it includes.
    fn compile(&mut self, name: &str) -> bool {
        self.errors.clear();
        self.result = None;
        self.script = None;
        let Ok(source) = std::fs::read(self.folder.join(name)) else {
            self.errors.push(format!("no script '{name}'"));
            return false;
        };
        match self.config.compiler().compile(&language::prepared(&String::from_utf8_lossy(&source))) {
            Ok(compiled) => {
                let mut count = 0;
                self.errors = self.included_errors(&compiled.program, &mut Vec::new(), &mut count);
                self.script = Some(Arc::new(compiled.program));
                if !self.errors.is_empty() {
                    self.errors.push("validation failed".into());
                }
                self.errors.is_empty()
            }
            Err(faults) => {
                let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
                self.errors.extend(errors.map(|fault| fault.message.clone()));
                self.errors.push("validation failed".into());
                if std::env::var_os("SIEVE_SUITE_ONLY").is_some() {
                    println!("{name}: {}", faults.iter().map(|f| format!("\n    {f}")).collect::<String>());
                }
                false
            }
        }
    }

    /// What is wrong with the scripts that a script includes, and with those that they include.
    fn included_errors(&self, program: &Program, chain: &mut Vec<(String, bool)>, count: &mut usize) -> Vec<String> {
        let mut errors = Vec::new();
        let limits = self.config.limits();
        for (name, is_global, is_optional) in program.includes() {
            *count += 1;
            let key = (name.to_owned(), is_global);
            if chain.contains(&key) || chain.len() >= limits.nested_includes || *count > limits.includes {
                errors.push(format!("cannot include {name}"));
                continue;
            }
            let question = Question::Script { name: name.into(), is_global };
            match self.answer(&question) {
                Answer::Script(Included::Found(included)) => {
                    chain.push(key);
                    let inner = self.included_errors(&included, chain, count);
                    chain.pop();
                    if !inner.is_empty() {
                        errors.extend(inner);
                        errors.push(format!("failed to include {name}"));
                    }
                }
                Answer::Script(Included::Missing) if is_optional => {}
                _ => errors.push(format!("no script {name}")),
            }
        }
        errors
    }

    fn run_script(&mut self) -> bool {
        let Some(program) = self.script.clone() else { return false };
        self.errors.clear();
        match self.run_program(&program) {
            Ok(actions) => {
                self.result = Some(actions);
                true
            }
            Err(why) => {
                self.errors.push(why);
                false
            }
        }
    }

    fn run_program(&self, program: &Program) -> Result<Actions, String> {
        let (view, envelope) = self.message.leak();
        let mut machine = Machine::new(program, view, envelope, self.config.limits());
        machine.set_delimiters(self.config.delimiters());
        loop {
            match machine.run() {
                Step::Ask(Question::Host(question)) if question.name == "test_fail" => {
                    return Err(question.arguments.first().map(text).unwrap_or_default());
                }
                Step::Ask(question) => {
                    let answer = self.answer(&question);
                    machine.answer(answer);
                }
                Step::Done(actions) => return Ok(actions),
                Step::Failed(error) => return Err(error.kind.to_string()),
            }
        }
    }

    /// Scripts one after the other, as long as the message is kept; each sees it as the one before left it.
    fn multiscript(&mut self, scripts: &[Vec<u8>]) -> bool {
        let before = self.message.clone();
        for script in scripts {
            if !self.compile(&String::from_utf8_lossy(script)) || !self.run_script() {
                return false;
            }
            let Some(mut actions) = self.result.take() else { return false };
            let is_kept = actions.is_kept();
            let is_last = scripts.last() == Some(script);
            if !is_last {
                actions.list.retain(|action| !matches!(action, Action::Keep(keep) if keep.is_implicit));
            }
            if self.store.execute(&actions, &self.message).is_err() {
                return false;
            }
            let edits: Vec<_> = actions.edits().cloned().collect();
            self.message.header = self.message.header.apply(&edits);
            if !is_kept {
                break;
            }
        }
        self.message = before;
        true
    }

    fn execute(&mut self, machine: &mut Machine<'static>) -> bool {
        let mut actions = self.current(machine);
        let is_kept_explicitly = actions.list.iter().any(|a| matches!(a, Action::Keep(keep) if !keep.is_implicit));
        actions.list.retain(|a| !(is_kept_explicitly && matches!(a, Action::FileInto(f) if f.mailbox == "INBOX")));
        self.errors.clear();
        self.store.sent.clear();
        match self.store.execute(&actions, &self.message) {
            Ok(()) => true,
            Err(why) => {
                self.errors.push(why);
                false
            }
        }
    }

    fn choose(&mut self, question: &HostQuestion, machine: &mut Machine<'static>) -> bool {
        let Some(HostValue::Number(n)) = question.arguments.first() else { return false };
        let n = *n as usize;
        let found = match question.tag("folder") {
            Some(folder) => {
                let stored = self.store.mailboxes.get(&mailbox_name(&text(folder))).and_then(|mailbox| mailbox.get(n));
                stored.map(|(message, flags)| (message.clone(), Some(flags.clone())))
            }
            None => self.store.sent.get(n).map(|message| (message.clone(), None)),
        };
        let Some((message, flags)) = found else {
            self.errors.push("no such message".into());
            return false;
        };
        self.message = message;
        self.show(machine);
        self.flags = flags.unwrap_or_default();
        machine.set_flags(self.flags.iter().map(String::as_str));
        true
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Time => Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: 120 },
            Question::Environment(name) => Answer::Text(match name.as_str() {
                "name" => Some(b"Pigeonhole Sieve".to_vec()),
                "version" => Some(b"1".to_vec()),
                "location" => Some(b"MS".to_vec()),
                "phase" => Some(b"during".to_vec()),
                "tst.path" => Some(self.folder.to_string_lossy().into_owned().into_bytes()),
                _ => None,
            }),
            Question::Script { name, is_global } => {
                let folder = if *is_global { "included-global" } else { "included" };
                let path = self.folder.join(folder).join(format!("{name}.sieve"));
                Answer::Script(match std::fs::read_to_string(path) {
                    Err(_) => Included::Missing,
                    Ok(source) => match self.config.compiler().compile(&language::prepared(&source)) {
                        Ok(compiled) => Included::Found(Arc::new(compiled.program)),
                        Err(_) => Included::Broken,
                    },
                })
            }
            Question::ListsExist(lists) => Answer::Bool(lists.iter().all(|list| self.config.has_list(list))),
            Question::InList { lists, values } => {
                let is_in = |value: &&Vec<u8>| lists.iter().any(|list| self.config.in_list(list, value));
                Answer::Text(values.iter().find(is_in).cloned())
            }
            Question::Score(kind) => {
                let header = |name: &str| {
                    let field = self.message.header.named(name).next()?;
                    Some(String::from_utf8_lossy(field.value).trim().to_owned())
                };
                Answer::Text(self.config.score(*kind, &header).map(String::into_bytes))
            }
            Question::MailboxesExist(names) => {
                Answer::Bool(names.iter().all(|n| self.store.mailboxes.contains_key(&*String::from_utf8_lossy(n))))
            }
            Question::NotifyCapability { capability, .. } => {
                Answer::Text((capability == b"online").then(|| b"maybe".to_vec()))
            }
            Question::Duplicate { .. } => Answer::Bool(false),
            Question::Authenticated => Answer::Text(None),
            other => Answer::Failed(format!("{other:?}").into()),
        }
    }
}

fn chosen(values: &[String], index: Option<usize>) -> Vec<Vec<u8>> {
    let all = values.iter().map(|value| value.clone().into_bytes());
    match index {
        Some(index) => all.skip(index.saturating_sub(1)).take(1).collect(),
        None => all.collect(),
    }
}

/// The actions as the suite names them.
fn names(actions: &Actions) -> Vec<String> {
    let has_keep = actions.is_kept();
    let name = |action: &Action| match action {
        Action::Keep(_) => Some("keep"),
        Action::FileInto(into) if into.mailbox == "INBOX" && has_keep => None,
        Action::FileInto(_) => Some("store"),
        Action::Redirect(_) => Some("redirect"),
        Action::Reject(_) => Some("reject"),
        Action::Discard => Some("discard"),
        Action::Vacation(_) => Some("vacation"),
        Action::Notify(_) => Some("notify"),
        _ => None,
    };
    actions.list.iter().filter_map(name).map(str::to_owned).collect()
}
