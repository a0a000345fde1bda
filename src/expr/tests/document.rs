//! The documentation is true: its examples have the results it says, and it leaves nothing out.

use super::super::functions;
use super::super::*;
use super::{facts, table};

const DOCUMENT: &str = include_str!("../../../docs/expressions.md");

#[test]
fn every_example_has_the_result_it_says() {
    let blocks: Vec<_> = DOCUMENT.split("```expr\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let count: usize = blocks.iter().map(|block| block.lines().count()).sum();
    assert!(count > 80, "{count} examples were found");
    blocks.into_iter().for_each(table);
}

#[test]
fn every_name_is_documented() {
    for name in functions::names() {
        assert!(DOCUMENT.contains(&format!("{name}(")), "the function {name}");
    }
    for variable in Variable::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", variable.name())), "the variable {}", variable.name());
    }
}

/// The table of stages says what the stages are, `those of …` taken as the row of that name.
#[test]
fn the_table_of_stages_is_that_of_the_code() {
    for stage in Stage::ALL {
        let row = DOCUMENT.lines().find(|line| line.starts_with(&format!("| {} |", stage.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", stage.name));
        let base = Stage::ALL.iter().filter(|base| row.contains(&format!("those of {},", base.name)));
        let inherited = base.fold(VariableSet::NONE, |set, base| set.with(&base.variables.iter().collect::<Vec<_>>()));
        let own: Vec<_> = row.split('`').skip(1).step_by(2).filter_map(Variable::from_name).collect();
        assert!(inherited.with(&own) == stage.variables, "{row}");
    }
}

#[test]
fn the_facts_of_the_examples_are_those_of_the_tests() {
    let facts = facts();
    assert_eq!(facts.variable(Variable::QueueAge), Value::Integer(7200));
    assert_eq!(facts.variable(Variable::RemoteIp).into_text(), "10.0.0.20");
}
