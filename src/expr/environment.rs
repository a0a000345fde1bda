//! What an expression is compiled against.

use super::value::Value;
use super::variable::{Stage, VariableSet};

/// Names that a configuration defines.
#[derive(Debug, Clone, Copy)]
pub enum Names<'a> {
    /// They are not known here: any name is accepted.
    Any,
    /// Exactly these.
    Known(&'a [&'a str]),
}

/// What an expression is compiled against.
pub struct Environment<'a> {
    /// The variables that exist when the setting is evaluated.
    pub variables: VariableSet,
    /// `config_get`: the value of a key of the configuration.
    pub config: &'a dyn Fn(&str) -> Option<Value<'static>>,
    /// The directories that `is_local_domain` and `is_local_address` may name.
    pub directories: Names<'a>,
    /// The stores that `key_*` and `counter_*` may name.
    pub stores: Names<'a>,
    /// The setting is evaluated where an evaluation may wait for the DNS.
    pub may_wait: bool,
    /// The variables of a language that embeds expressions: the number by which [`Scope::local`] is asked
    /// for a name. They hide the variables of the stage.
    ///
    /// [`Scope::local`]: super::Scope::local
    pub locals: &'a dyn Fn(&str) -> Option<u16>,
}

impl Environment<'_> {
    /// The variables of a stage, no configuration, any directory and store.
    pub const fn at(stage: Stage) -> Environment<'static> {
        Environment {
            variables: stage.variables,
            config: &|_| None,
            directories: Names::Any,
            stores: Names::Any,
            may_wait: true,
            locals: &|_| None,
        }
    }

    /// The same, for a setting with other variables.
    pub const fn with_variables(&self, variables: VariableSet) -> Environment<'_> {
        Environment { variables, ..*self }
    }

    /// The same, for a setting that must be known at once: `dns_query` is a fault in it.
    pub const fn without_waiting(&self) -> Environment<'_> {
        Environment { may_wait: false, ..*self }
    }
}
