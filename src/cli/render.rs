//! Answers as text for people.

use std::fmt::Write;

use crate::shard::query::{Answer, RecipientRow, Row, TimingRow};

/// The answer as text, with its final line end.
pub fn text(answer: &Answer) -> String {
    let mut out = String::new();
    match answer {
        Answer::Messages { rows, more } => messages(&mut out, rows, *more),
        Answer::Message { row } => message(&mut out, row),
        Answer::Done { messages, unknown, under_way } => {
            let _ = writeln!(out, "{messages} {}", if *messages == 1 { "message" } else { "messages" });
            for id in unknown {
                let _ = writeln!(out, "not queued: {id}");
            }
            for id in under_way {
                let _ = writeln!(out, "not removed while it is attempted: {id}");
            }
        }
        Answer::Stats { values, timings } => stats(&mut out, values, timings),
        Answer::Reloaded { changes } if changes.is_empty() => out.push_str("nothing changed\n"),
        Answer::Reloaded { changes } => changes.iter().for_each(|line| {
            let _ = writeln!(out, "{line}");
        }),
        Answer::Refused { reason } => {
            let _ = writeln!(out, "{reason}");
        }
    }
    out
}

fn sender(row: &Row) -> String {
    format!("<{}>", printable(&row.from))
}

fn messages(out: &mut String, rows: &[Row], more: bool) {
    if rows.is_empty() {
        out.push_str("no messages\n");
        return;
    }
    let _ =
        writeln!(out, "{:<22} {:>9}  {:<24} {:<24} sender -> recipients", "id", "bytes", "accepted", "next attempt");
    for row in rows {
        let due = if row.held { "held" } else { row.due.as_deref().unwrap_or("under way") };
        let shown: Vec<String> = row.recipients.iter().take(3).map(|r| printable(&r.to)).collect();
        let rest = row.recipients_queued.saturating_sub(shown.len());
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let _ = writeln!(
            out,
            "{:<22} {:>9}  {:<24} {:<24} {} -> {}{rest}",
            row.id,
            row.size_bytes,
            row.accepted,
            due,
            sender(row),
            shown.join(", ")
        );
    }
    if let (true, Some(last)) = (more, rows.last()) {
        let _ = writeln!(out, "more follow: --after {}", last.id);
    }
}

fn message(out: &mut String, row: &Row) {
    let _ = writeln!(out, "id         {}", row.id);
    let _ = writeln!(out, "accepted   {}", row.accepted);
    let _ = writeln!(out, "sender     {}", sender(row));
    let _ = writeln!(out, "size       {} bytes", row.size_bytes);
    if row.priority != 0 {
        let _ = writeln!(out, "priority   {}", row.priority);
    }
    let _ = writeln!(out, "shard      {}", row.shard);
    if row.held {
        let _ = writeln!(out, "held       until `posthaste queue release {}`", row.id);
    }
    for recipient in &row.recipients {
        recipient_block(out, recipient);
    }
}

fn recipient_block(out: &mut String, r: &RecipientRow) {
    let _ = writeln!(out, "\n<{}>: {}, {} {}", printable(&r.to), r.state, r.attempts, plural(r.attempts, "attempt"));
    let most = r.attempts_max.map(|most| format!("after {most} {}", plural(most, "attempt")));
    let lines = [
        ("next", &r.due),
        ("expires", &r.expires),
        ("gives up", &most),
        ("last", &r.last),
        ("waits for", &r.waits_for),
    ];
    for (label, value) in lines {
        if let Some(value) = value {
            let _ = writeln!(out, "  {label:<9} {}", printable(value));
        }
    }
}

fn stats(out: &mut String, values: &[(String, i64)], timings: &[TimingRow]) {
    for (name, value) in values.iter().filter(|(_, value)| *value != 0) {
        let _ = writeln!(out, "{name:<44} {value:>14}");
    }
    if timings.iter().any(|t| t.count > 0) {
        let _ = writeln!(out, "\n{:<24} {:>10} {:>10} {:>10} {:>10}", "latency", "count", "p50 ms", "p99 ms", "max ms");
    }
    let ms = |us: u64| us as f64 / 1000.0;
    for t in timings.iter().filter(|t| t.count > 0) {
        let _ = writeln!(
            out,
            "{:<24} {:>10} {:>10.2} {:>10.2} {:>10.2}",
            t.name,
            t.count,
            ms(t.p50_us),
            ms(t.p99_us),
            ms(t.max_us)
        );
    }
}

fn plural(n: u32, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

/// What a terminal must not interpret is shown as `?`: addresses and replies come from strangers.
fn printable(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    text.chars().map(|c| if harmful(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: "00-0001-0000002a".into(),
            shard: 1,
            accepted: "2026-11-22T22:30:00.123Z".into(),
            from: "a@b.test".into(),
            size_bytes: 1024,
            priority: 0,
            held: false,
            due: Some("2026-11-22T22:32:00.123Z".into()),
            recipients: vec![RecipientRow {
                to: "evil\u{1b}[2J@c.test".into(),
                state: "deferred".into(),
                attempts: 1,
                due: Some("2026-11-22T22:32:00.123Z".into()),
                expires: Some("2026-11-25T22:30:00.123Z".into()),
                attempts_max: Some(10),
                last: Some("mx.c.test [192.0.2.1]: 450 4.2.1 later".into()),
                waits_for: Some("its next attempt".into()),
            }],
            recipients_queued: 1,
        }
    }

    #[test]
    fn listings_and_messages() {
        insta::assert_snapshot!(text(&Answer::Messages { rows: vec![row()], more: true }));
        insta::assert_snapshot!(text(&Answer::Message { row: row() }));
        assert_eq!(text(&Answer::Messages { rows: vec![], more: false }), "no messages\n");
    }
}
