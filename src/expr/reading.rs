//! Keys marked E, read from the configuration: the TOML becomes a [`Source`], faults find their column.

use compact_str::CompactString;

use super::{Branch, Environment, Expr, ExprFault, Names, Place, Scalar, Source, Stage, Str, Target, Value};
use crate::schema::document::{Entry, Value as Toml};
use crate::schema::quantity::parse_size;
use crate::schema::{Cell, FaultKind, Kind};

/// What makes of a source what its key holds.
type Compile<R> = dyn Fn(&Source<'_>, &Environment<'_>) -> Result<R, Vec<ExprFault>>;

/// Lists that defaults ask for. Where the file does not have them they know no key.
const WELL_KNOWN_STORES: [&str; 1] = ["blocked-domains"];

/// A key that takes a plain value, an expression, or a list of if, then and else, evaluated at `stage`.
/// `fallback` holds where an evaluation fails.
pub fn expression<T: Target>(stage: Stage, fallback: T) -> Kind<Expr<T>> {
    kind(stage, true, fallback)
}

/// The same for a key that must be known at once: it may not ask the DNS.
pub fn expression_now<T: Target>(stage: Stage, fallback: T) -> Kind<Expr<T>> {
    kind(stage, false, fallback)
}

/// [`expression_now`] for a size: where a plain value may stand, so may `"100MB"`.
pub fn size_expression<T: Target>(stage: Stage, fallback: T) -> Kind<Expr<T>> {
    let (what, constant) = (format!("expression (stage {}) for a size", stage.name), fallback.clone());
    let compile = move |source: &Source<'_>, environment: &Environment<'_>| {
        let mut source = source.clone();
        sizes_to_numbers(&mut source);
        Expr::compile(&source, fallback.clone(), environment)
    };
    let read = move |cell: &Cell<'_>, _: &str| read_with(cell, stage, false, &compile);
    Kind::new(what, "a size", read, |_| "…".to_owned(), move || Expr::constant(constant.clone()))
}

fn sizes_to_numbers(source: &mut Source<'_>) {
    let convert = |value: &mut Scalar<'_>| {
        let size = match value {
            Scalar::Text(text) => parse_size(text).and_then(|bytes| i64::try_from(bytes).ok()),
            _ => None,
        };
        if let Some(bytes) = size {
            *value = Scalar::Integer(bytes);
        }
    };
    match source {
        Source::Value(value) => convert(value),
        Source::Branches(branches) => {
            branches.iter_mut().flat_map(|branch| [&mut branch.then, &mut branch.else_]).flatten().for_each(convert);
        }
    }
}

/// A key whose expression the caller compiles: `compile` is given the source and an environment of `stage`.
pub fn compiled_by<R: 'static>(
    stage: Stage,
    compile: impl Fn(&Source<'_>, &Environment<'_>) -> Result<R, Vec<ExprFault>> + 'static,
    placeholder: impl Fn() -> R + 'static,
) -> Kind<R> {
    let what = format!("expression (stage {}) for true or false", stage.name);
    let read = move |cell: &Cell<'_>, _: &str| read_with(cell, stage, true, &compile);
    Kind::new(what, "true or false", read, |_| "…".to_owned(), placeholder)
}

/// The same for a key that is evaluated at the first of `stages` at which all it asks for is known; the number
/// says which. Faults are told as for the last.
pub fn expression_at_earliest<T: Target>(stages: &'static [Stage], fallback: T) -> Kind<(usize, Expr<T>)> {
    let last = stages.last().copied().unwrap_or(Stage::CONNECTION);
    let constant = fallback.clone();
    let compile = move |source: &Source<'_>, environment: &Environment<'_>| {
        let at = |stage: &Stage| Expr::compile(source, fallback.clone(), &environment.with_variables(stage.variables));
        let early = stages.iter().enumerate().find_map(|(number, stage)| Some((number, at(stage).ok()?)));
        early.map_or_else(|| Ok((stages.len().saturating_sub(1), at(&last)?)), Ok)
    };
    compiled_by(last, compile, move || (0, Expr::constant(constant.clone())))
}

fn kind<T: Target>(stage: Stage, may_wait: bool, fallback: T) -> Kind<Expr<T>> {
    let what = format!("expression (stage {}) for {}", stage.name, T::expected());
    let constant = fallback.clone();
    let read = move |cell: &Cell<'_>, _: &str| read(cell, stage, may_wait, &fallback);
    Kind::new(what, T::expected(), read, |_| "…".to_owned(), move || Expr::constant(constant.clone()))
}

/// `config_get`: a number or a boolean keeps its type.
fn config_value(cell: &Cell<'_>, key: &str) -> Option<Value<'static>> {
    let text = cell.config(key)?;
    Some(match (text.as_str(), text.parse()) {
        ("true", _) => Value::Integer(1),
        ("false", _) => Value::Integer(0),
        (_, Ok(number)) => Value::Integer(number),
        _ => Value::Text(Str::Owned(CompactString::from(text))),
    })
}

fn read<T: Target>(cell: &Cell<'_>, stage: Stage, may_wait: bool, fallback: &T) -> Option<Expr<T>> {
    let fallback = fallback.clone();
    let compile =
        move |source: &Source<'_>, environment: &Environment<'_>| Expr::compile(source, fallback.clone(), environment);
    read_with(cell, stage, may_wait, &compile)
}

fn read_with<R>(cell: &Cell<'_>, stage: Stage, may_wait: bool, compile: &Compile<R>) -> Option<R> {
    let form = form(cell);
    let directories = cell.names("directory");
    let mut stores = cell.names("lookup");
    stores.extend(WELL_KNOWN_STORES);
    let config = |key: &str| config_value(cell, key);
    let environment = Environment {
        variables: stage.variables,
        config: &config,
        directories: Names::Known(&directories),
        stores: Names::Known(&stores),
        may_wait,
        locals: &|_| None,
    };
    match compile(form.source.as_ref()?, &environment) {
        Ok(value) => Some(value).filter(|_| form.is_sound),
        Err(faults) => {
            faults.into_iter().for_each(|fault| tell(cell, &form, fault));
            None
        }
    }
}

/// The value as the language takes it. What is no value of the language is told and left out, so that the
/// rest can be checked.
struct Form<'c> {
    source: Option<Source<'c>>,
    /// Of each branch, which element of the array it is.
    elements: Vec<usize>,
    /// Nothing was left out.
    is_sound: bool,
}

fn form<'c>(cell: &Cell<'c>) -> Form<'c> {
    let items = elements(cell).unwrap_or_default();
    if items.iter().all(|item| item.node().as_table().is_none()) {
        let source = plain(cell).map(Source::Value);
        return Form { is_sound: source.is_some(), source, elements: Vec::new() };
    }
    let read: Vec<Option<Branch<'c>>> = items.iter().map(branch).collect();
    let is_sound = read.iter().all(Option::is_some);
    let (elements, branches) =
        read.into_iter().enumerate().filter_map(|(element, branch)| Some((element, branch?))).unzip();
    Form { source: Some(Source::Branches(branches)), elements, is_sound }
}

/// The elements of an array, or of a table whose keys are positions: `key.0.if`, `key.0.then`, `key.1.else`.
fn elements<'c>(cell: &Cell<'c>) -> Option<Vec<Cell<'c>>> {
    if let Some(items) = cell.items() {
        return Some(items);
    }
    let position = |(entry, value): (&Entry, Cell<'c>)| Some((entry.key.parse::<u32>().ok()?, value));
    let mut positions = cell.entries()?.into_iter().map(position).collect::<Option<Vec<_>>>()?;
    positions.sort_by_key(|(position, _)| *position);
    Some(positions.into_iter().map(|(_, value)| value).collect())
}

fn branch<'c>(cell: &Cell<'c>) -> Option<Branch<'c>> {
    let Some(entries) = cell.entries() else {
        cell.mismatch("a table, { if = …, then = … } or { else = … }");
        return None;
    };
    let mut branch = Branch::default();
    let mut is_sound = true;
    for (Entry { key, span, .. }, value) in entries {
        let part = match key.as_str() {
            "if" => &mut branch.if_,
            "then" => &mut branch.then,
            "else" => &mut branch.else_,
            _ => {
                let title = format!("unknown key `{key}` in a branch of `{}`", cell.path());
                cell.fault(FaultKind::Unknown, span.clone(), title, "expected if, then or else");
                is_sound = false;
                continue;
            }
        };
        *part = plain(&value);
        is_sound &= part.is_some();
    }
    is_sound.then_some(branch)
}

/// A scalar or an array of scalars.
fn plain<'c>(cell: &Cell<'c>) -> Option<Scalar<'c>> {
    match cell.items() {
        Some(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(Scalar::List),
        None => scalar(cell),
    }
}

fn scalar<'c>(cell: &Cell<'c>) -> Option<Scalar<'c>> {
    match &cell.node().value {
        Toml::Bool(value) => Some(Scalar::Bool(*value)),
        Toml::Integer(value) => Some(Scalar::Integer(*value)),
        Toml::Float(value) => Some(Scalar::Float(*value)),
        Toml::Text(text) => Some(Scalar::Text(text.as_str())),
        Toml::Datetime | Toml::Array(_) | Toml::Table(_) => {
            cell.mismatch(
                "a plain value, an expression in a string, or a list of { if = …, then = … } and { else = … }",
            );
            None
        }
    }
}

/// Puts a fault of the language at its place in the file.
fn tell(cell: &Cell<'_>, form: &Form<'_>, fault: ExprFault) {
    let element = |branch: usize| {
        let element = form.elements.get(branch).copied().unwrap_or(branch);
        elements(cell).and_then(|items| items.into_iter().nth(element))
    };
    let part = |branch: usize, key: &str| {
        element(branch)?.entries()?.into_iter().find(|(entry, _)| entry.key == key).map(|(_, value)| value)
    };
    let place = match fault.place {
        Place::Value | Place::Branches => None,
        Place::Branch(branch) => element(branch),
        Place::If(branch) => part(branch, "if"),
        Place::Then(branch) => part(branch, "then"),
        Place::Else(branch) => part(branch, "else"),
    };
    let place = place.as_ref().unwrap_or(cell);
    if let Place::Branches | Place::Branch(_) = fault.place {
        // With a branch left out, the order of the others says nothing.
        if form.is_sound {
            let title = format!("{} in `{}`", fault.found, cell.path());
            cell.fault(FaultKind::Expression, place.node().span.clone(), title, format!("expected {}", fault.expected));
        }
        return;
    }
    let title = format!("wrong expression in `{}`", cell.path());
    let range = fault.span.start as usize..fault.span.end as usize;
    place.fault_inside(range, title, fault.found, fault.expected, fault.hint);
}
