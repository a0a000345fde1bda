//! Text to document: the file is read, its macros are replaced, nothing is understood yet.

use std::io::Read;
use std::path::Path;

use crate::schema::document::TEXT_BYTES_MAX;
use crate::schema::{Document, Environment, Fault, FaultKind, expand};

/// This machine, as macros see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        read_text(Path::new(path))
    }
}

/// The text of a file of bounded size; the error is words for people.
pub fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => "not UTF-8".to_owned(),
        _ => error.to_string(),
    })?;
    if read > TEXT_BYTES_MAX { Err(format!("larger than {TEXT_BYTES_MAX} bytes")) } else { Ok(text) }
}

/// The document of `text`, macros replaced, and the faults so far.
pub fn parse(name: &str, text: &str, environment: &dyn Environment) -> (Document, Vec<Fault>) {
    let (mut document, mut faults) = Document::parse(name, text);
    faults.extend(expand(&mut document, environment));
    (document, faults)
}

/// Whether what was read can be understood further, so that more faults can be told at once. A value that
/// is no value, or a key set twice, spoils only itself; a header that is no header moves every key after it.
pub fn is_readable(document: &Document, faults: &[Fault]) -> bool {
    let spoils_itself = |fault: &Fault| match fault.kind {
        FaultKind::Syntax => fault.title.contains("no escape") || fault.title.contains("without quotes"),
        _ => true,
    };
    !document.root().entries.is_empty() && faults.iter().all(spoils_itself)
}

/// The name of this machine, for `server.hostname` where the file does not set it.
pub fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = read.trim();
    if name.is_empty() || name == "(none)" { "localhost".to_owned() } else { name.to_owned() }
}
