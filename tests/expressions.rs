//! The configuration examples of `docs/expressions.md` load without a fault.

use posthaste::config::load_text;
use posthaste::schema::Environment;

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, _: &str) -> Result<String, String> {
        Err("no file is read".to_owned())
    }
}

const LISTENER: &str = "[server.listener.smtp]\nbind = \"127.0.0.1:2525\"\nprotocol = \"smtp\"\n";

#[test]
fn every_example_of_the_documentation_loads() {
    let document = include_str!("../docs/expressions.md");
    let blocks: Vec<_> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 5, "examples");
    for block in blocks {
        let text = format!("{LISTENER}{block}");
        if let Err(refused) = load_text("example.toml", &text, &Nothing) {
            panic!("{}", refused.render(false));
        }
    }
}
