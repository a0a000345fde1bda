//! Scripts inside scripts (RFC 6609): frames, their globals, and coming back.

use compact_str::CompactString;

use super::super::limits::Limit;
use super::super::matching::Captures;
use super::super::question::{Answer, Included, Question};
use super::{Frame, Machine, Outcome, ProgramRef, RunErrorKind, mismatch};

impl<'a> Machine<'a> {
    /// Puts a script on top. Its globals find those of the same name, or are made.
    pub(super) fn enter(&mut self, program: ProgramRef<'a>, name: CompactString) -> Outcome<()> {
        let mut globals = Vec::with_capacity(program.globals.len());
        for global in &program.globals {
            let known = self.globals.iter().position(|(known, _)| known == global);
            let at = known.unwrap_or_else(|| {
                self.globals.push((global.clone(), Vec::new()));
                self.globals.len() - 1
            });
            globals.push(at as u16);
        }
        if self.globals.len() > self.limits.globals {
            return Err(Limit::Globals.into());
        }
        let locals = vec![Vec::new(); usize::from(program.locals)];
        self.frames.push(Frame {
            program,
            at: 0,
            locals,
            globals,
            captures: Captures::default(),
            values: Vec::new(),
            name,
        });
        Ok(())
    }

    /// Takes the topmost script off.
    pub(super) fn leave(&mut self) {
        self.leave_loops_of_frame();
        if let Some(frame) = self.frames.pop() {
            let freed: usize = frame.locals.iter().map(Vec::len).sum();
            self.variables_bytes = self.variables_bytes.saturating_sub(freed);
        }
    }

    pub(super) fn include(
        &mut self,
        name: &CompactString,
        is_global: bool,
        is_once: bool,
        is_optional: bool,
    ) -> Outcome<()> {
        let key = (name.clone(), is_global);
        if is_once && self.included.contains(&key) {
            return Ok(());
        }
        let fail = |why| RunErrorKind::Include { name: name.clone(), why };
        let marked = if is_global { CompactString::from(format!(":global {name}")) } else { name.clone() };
        if self.frames.iter().any(|frame| frame.name == marked) {
            return Err(fail("it includes itself").into());
        }
        let program = match self.ask(Question::Script { name: name.clone(), is_global })? {
            Answer::Script(Included::Found(program)) => program.clone(),
            Answer::Script(Included::Missing) if is_optional => return Ok(()),
            Answer::Script(Included::Missing) => return Err(fail("there is no such script").into()),
            Answer::Script(Included::Broken) => return Err(fail("it does not compile").into()),
            _ => return Err(mismatch("a script")),
        };
        self.includes += 1;
        if self.includes > self.limits.includes {
            return Err(Limit::Includes.into());
        }
        if self.frames.len() > self.limits.nested_includes {
            return Err(Limit::NestedIncludes.into());
        }
        if !self.included.contains(&key) {
            self.included.push(key);
        }
        self.enter(ProgramRef::Shared(program), marked)
    }
}
