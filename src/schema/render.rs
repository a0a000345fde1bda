//! Faults for people: the line, what was found, what was expected, what to do.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Renderer, Snippet};

use super::document::Document;
use super::fault::{Fault, FaultKind};
use super::secret::masked;

/// Columns of a rendered fault before long source lines are cut.
const COLUMNS: usize = 140;

/// All faults of `document`, in the order of the file, with colours if the reader is a terminal.
pub fn render(document: &Document, faults: &[Fault], is_terminal: bool) -> String {
    let is_broken = faults.iter().any(|fault| fault.kind == FaultKind::Syntax);
    let text = masked(document, is_broken);
    let renderer = if is_terminal { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(COLUMNS);
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    sorted.sort_by_key(|fault| (fault.kind.is_warning(), fault.span.as_ref().map_or(usize::MAX, |span| span.start)));
    let mut out = String::new();
    for fault in sorted {
        out.push_str(&renderer.render(&[group(document, &text, fault)]));
        out.push_str("\n\n");
    }
    out
}

fn group<'a>(document: &'a Document, text: &'a str, fault: &'a Fault) -> Group<'a> {
    let level = if fault.kind.is_warning() { Level::WARNING } else { Level::ERROR };
    let mut elements: Vec<Element<'a>> = Vec::new();
    match &fault.span {
        Some(span) if span.end <= text.len() => {
            let primary = AnnotationKind::Primary.span(span.clone()).label(fault.words());
            let mut snippet = Snippet::source(text).path(document.name()).annotation(primary);
            if let Some((span, words)) = &fault.also {
                snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(words.as_str()));
            }
            elements.push(snippet.into());
        }
        _ => {
            elements.push(Level::NOTE.message(format!("in {}", document.name())).into());
            if !fault.words().is_empty() {
                elements.push(Level::NOTE.message(fault.words()).into());
            }
        }
    }
    elements.extend(fault.help.iter().map(|help| Level::HELP.message(help.as_str()).into()));
    level.primary_title(fault.title.as_str()).elements(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_its_line_and_no_secret() {
        let (document, _) = Document::parse("x.toml", "a.secret = 'hunter2'\nb = { secret = 'hunter2', c = 5 }\n");
        let node = document.find("b.c").expect("b.c");
        let fault = Fault::new(FaultKind::Type, "b.c", "wrong value for `b.c`")
            .at(node.span.clone())
            .found("an integer 5")
            .expected("a string")
            .help("quote it");
        let rendered = render(&document, &[fault], false);
        insta::assert_snapshot!(rendered);
    }
}
