//! The reference of every knob, rendered from the definitions that read them.

use super::record::{Apply, Default, KnobRecord, Record, SectionRecord, Shape};

/// Columns of a comment line.
const COLUMNS: usize = 100;

/// All of `records` as TOML in which every key is a comment: removing the `#` of a line gives its default.
pub fn render(records: &[Record]) -> String {
    let mut out = String::new();
    for (index, record) in records.iter().enumerate() {
        let Record::Section(section) = record else { continue };
        let knobs: Vec<&KnobRecord> = own_knobs(records, section).collect();
        let is_first = !records[..index]
            .iter()
            .any(|other| matches!(other, Record::Section(other) if other.pattern == section.pattern));
        if is_first {
            render_section(section, &knobs, &mut out);
        }
    }
    out
}

/// The knobs that stand directly in `section`.
fn own_knobs<'a>(records: &'a [Record], section: &'a SectionRecord) -> impl Iterator<Item = &'a KnobRecord> {
    records.iter().filter_map(|record| match record {
        Record::Knob(knob) if knob.pattern.strip_suffix(knob.name.as_str())? == format!("{}.", section.pattern) => {
            Some(knob)
        }
        _ => None,
    })
}

fn render_section(section: &SectionRecord, knobs: &[&KnobRecord], out: &mut String) {
    if section.doc.is_empty() && knobs.is_empty() {
        return;
    }
    out.push('\n');
    wrap(section.doc, "## ", out);
    let name = section.pattern.replace("<id>", "ID");
    match section.shape {
        Shape::Items => out.push_str(&format!("#[[{name}]]\n")),
        _ => out.push_str(&format!("#[{name}]\n")),
    }
    for knob in knobs {
        render_knob(knob, out);
    }
}

fn render_knob(knob: &KnobRecord, out: &mut String) {
    out.push('\n');
    wrap(knob.doc, "# ", out);
    let (default, value) = match &knob.default {
        Default::Required => (" Required.".to_owned(), None),
        Default::Unset => (" Unset by default.".to_owned(), None),
        Default::Value(value) => (String::new(), Some(value.clone())),
        Default::As(key, value) => (format!(" Default: as {key}."), Some(value.clone())),
        Default::Found(words) => (format!(" Default: {words}."), None),
    };
    let apply = if knob.apply == Apply::Restart { " A change needs a restart." } else { "" };
    wrap(&format!("Type: {}.{default}{apply}", knob.kind), "# ", out);
    let value = value.or_else(|| knob.example.map(str::to_owned)).unwrap_or_else(|| "…".to_owned());
    out.push_str(&format!("#{} = {value}\n", knob.name));
}

fn wrap(text: &str, prefix: &str, out: &mut String) {
    for paragraph in text.split('\n').filter(|paragraph| !paragraph.trim().is_empty()) {
        let mut width = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if width == 0 || width + 1 + length > COLUMNS {
                if width > 0 {
                    out.push('\n');
                }
                out.push_str(prefix);
                width = prefix.len();
            } else {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += length;
        }
        out.push('\n');
    }
}
