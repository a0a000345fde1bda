//! The settings that the suite changes, as far as they concern the engine or its host.

use std::collections::BTreeMap;
use std::path::Path;

use posthaste::sieve::{Compiler, Limits, ScoreKind};

/// How deep that server lets loops nest.
const LOOPS: usize = 4;

/// Settings by their names.
#[derive(Default)]
pub struct Config(pub BTreeMap<String, String>);

impl Config {
    fn number(&self, key: &str) -> Option<usize> {
        self.0.get(key)?.parse().ok()
    }

    pub fn limits(&self) -> Limits {
        let mut limits =
            Limits { redirects: 4, out_messages: 10, nested_includes: 10, loops: LOOPS, ..Limits::default() };
        if let Some(n) = self.number("sieve_variables_max_value_size") {
            limits.variable_bytes = n;
        }
        if let Some(n) = self.number("sieve_max_actions") {
            limits.actions = n;
        }
        if let Some(n) = self.number("sieve_notify_max_notifications") {
            limits.out_messages = n;
        }
        if let Some(n) = self.number("sieve_include_max_nesting_depth") {
            limits.nested_includes = n;
        }
        if let Some(n) = self.number("sieve_include_max_includes") {
            limits.includes = n;
        }
        limits
    }

    pub fn compiler(&self) -> Compiler {
        super::language::compiler().with_variables_max(255).with_loops_max(LOOPS)
    }

    pub fn delimiters(&self) -> &str {
        self.0.get("recipient_delimiter").map_or("+", String::as_str)
    }

    /// Whether a list is configured, by its name or its URN.
    pub fn has_list(&self, name: &[u8]) -> bool {
        let name = list_name(name);
        self.0.get("sieve_extlists_list").is_some_and(|lists| lists.split(' ').any(|list| list == name))
    }

    /// Whether a list holds a value.
    pub fn in_list(&self, name: &[u8], value: &[u8]) -> bool {
        let path = self.0.get(&format!("sieve_extlists_list/{}/dict/file/path", list_name(name)));
        let Some(text) = path.and_then(|path| std::fs::read_to_string(Path::new(path)).ok()) else { return false };
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        text.lines().step_by(2).any(|key| key.rsplit('/').next() == Some(value.as_str()))
    }

    /// The score that the header of the message gives, in the units of the test.
    pub fn score(&self, kind: ScoreKind, header: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let prefix = if kind == ScoreKind::Virus { "sieve_virustest" } else { "sieve_spamtest" };
        let found = |key: &str| -> Option<String> {
            let setting = self.0.get(&format!("{prefix}_{key}"))?;
            let (name, pattern) = setting.split_once(':').unwrap_or((setting, ""));
            let value = header(name)?;
            if pattern.is_empty() {
                return Some(value);
            }
            let regex = regex::Regex::new(pattern.trim_start()).ok()?;
            Some(regex.captures(&value)?.get(1)?.as_str().to_owned())
        };
        let status = found("status_header")?;
        let of = |key: &str| self.0.get(&format!("{prefix}_{key}")).cloned();
        let max = of("score_max_value").or_else(|| found("score_max_header"));
        let fraction: f64 = match of("status_type").as_deref().unwrap_or("score") {
            "text" => {
                let (low, high) = if kind == ScoreKind::Virus { (1, 5) } else { (0, 10) };
                let n = (low..=high).find(|n| of(&format!("text_value/{n}")).as_deref() == Some(&status))?;
                return Some(if kind == ScoreKind::SpamPercent { (n * 10).to_string() } else { n.to_string() });
            }
            "strlen" => status.len() as f64 / max?.parse::<f64>().ok()?,
            _ => status.parse::<f64>().ok()? / max?.parse::<f64>().ok()?,
        };
        let fraction = fraction.clamp(0.0, 1.0);
        Some(match kind {
            ScoreKind::Spam => ((fraction * 9.0 + 0.000_01) as u32 + 1).to_string(),
            ScoreKind::SpamPercent => ((fraction * 100.0 + 0.000_01) as u32).to_string(),
            ScoreKind::Virus => ((fraction * 4.0 + 0.000_01) as u32 + 1).to_string(),
        })
    }
}

fn list_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).into_owned();
    match name.strip_prefix("urn:ietf:params:sieve") {
        Some(short) => short.to_owned(),
        None => name,
    }
}
