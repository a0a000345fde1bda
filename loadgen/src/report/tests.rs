use roxmltree::{Document, Node, ParsingOptions};

use super::*;
use crate::random::Random;
use crate::summary::{
    AuditCounts, Cost, Latency, Phase, Run, Sample, SearchStep, ServerSample, ServerSpan, ServerUse, SinkCounts,
    Totals, histogram,
};
use crate::table;

/// Every field is filled, and texts hold what must be escaped.
fn full() -> Summary {
    let mut random = Random::new(5);
    let phase = |name: &str, median_us: f64, random: &mut Random| {
        let mut latency = histogram();
        (0..20_000).for_each(|_| latency.saturating_record((median_us * (random.normal() * 0.5).exp()) as u64));
        Phase { name: name.into(), meaning: format!("meaning of {name} <&>"), latency: Latency(latency) }
    };
    let sample = |n: u64| Sample {
        at_s: n as f64,
        is_warm_up: n <= 2,
        begun: 1000,
        acknowledged: 990 + n,
        refused: n % 3,
        failed: n % 2,
        connections: 50,
        p50_us: 900 + n,
        p99_us: 5_000 + n,
        max_us: 20_000 + n,
    };
    let server = |n: u64| ServerSample {
        at_s: n as f64 + 0.3,
        user_s: n as f64 * 0.05,
        system_s: n as f64 * 0.08,
        resident_bytes: 30_000_000 + n * 1000,
        processes: 1,
        threads: 4,
        switches_voluntary: n * 700,
        switches_involuntary: n * 20,
        written_bytes: Some(n * 11_000_000),
        read_bytes: Some(n),
        flushes: Some(n * 60),
        device_written_bytes: Some(n * 12_000_000),
        device_flushes: Some(n * 66),
    };
    let span = ServerSpan {
        seconds: 10.0,
        messages: 10_045,
        user_s: 0.5,
        system_s: 0.8,
        cpu_us_per_message: 129.4,
        resident_bytes_max: 30_012_000,
        switches_voluntary: 7000,
        switches_involuntary: 200,
        written_bytes: Some(110_000_000),
        flushes: Some(600),
        device_written_bytes: Some(120_000_000),
        device_flushes: Some(660),
    };
    let cost = Cost { user_s: 0.3, system_s: 0.9, us_per_message: 119.5, busy: 0.95 };
    Summary {
        run: Run {
            id: "00000000deadbeef".into(),
            generator: "posthaste-loadgen 0.1.0".into(),
            command: "posthaste-loadgen source 127.0.0.1:25 --to 'a&b@<c>'".into(),
            started_ms: 1_795_400_000_000,
            server: "127.0.0.1:25".into(),
            banner: "220 relay <\"ready\"> & </script>".into(),
            extensions: vec!["PIPELINING".into()],
            mode: "open loop".into(),
            arrivals: "Poisson".into(),
            target_rate: Some(1000.0),
            sessions: 50,
            threads: 1,
            sizes: "10240 bytes".into(),
            options: vec!["SMTP".into(), "PIPELINING".into()],
            warm_up_s: 2.0,
            measured_s: 10.0,
            clock_us: 0,
        },
        totals: Totals {
            begun: 10_060,
            acknowledged: 10_045,
            tempfailed: 8,
            rejected: 3,
            failed: 4,
            unsent: 2,
            recipients: 10_045,
            content_bytes: 102_860_800,
            connections: 50,
            tls_handshakes: 50,
            tls_resumed: 7,
            acknowledged_in_all: 12_034,
            rate: 1004.5,
        },
        samples: (1..=12).map(sample).collect(),
        phases: [("connect", 80.0), ("EHLO", 60.0), ("MAIL", 150.0), ("final reply", 900.0), ("end to end", 1500.0)]
            .map(|(name, median)| phase(name, median, &mut random))
            .into(),
        replies: [("MAIL 250".to_owned(), 10_060), ("RCPT 451".to_owned(), 8)].into(),
        errors: [("content: the server closed <the> connection".to_owned(), 4)].into(),
        generator: cost.clone(),
        sink: Some(SinkCounts {
            messages: 12_034,
            first: 12_034,
            replies: [("RCPT 250".to_owned(), 12_034)].into(),
            cost,
            rate: vec![1000, 1001],
            ..SinkCounts::default()
        }),
        server: Some(ServerUse {
            pid: 4711,
            name: "posthaste".into(),
            disk: Some("vda".into()),
            notes: vec!["metrics: <none>".into()],
            measured: Some(span.clone()),
            whole: Some(span),
            samples: (1..=13).map(server).collect(),
        }),
        search: vec![
            SearchStep { rate: 1000.0, achieved: 1001.2, p99_us: 5_100, is_met: true, reason: String::new() },
            SearchStep { rate: 2000.0, achieved: 1400.0, p99_us: 90_000, is_met: false, reason: "p99 > 50 ms".into() },
        ],
        audit: Some(AuditCounts { acknowledged: 12_034, intact: 12_033, lost: 1, ..AuditCounts::default() }),
    }
}

fn page(summary: &Summary) -> String {
    page::html(summary, &table::json(summary).expect("serializes"))
}

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).expect("well-formed")
}

fn text(node: Node) -> String {
    node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect()
}

/// Cells of the table with this id, row by row.
fn cells(document: &Document, id: &str) -> Vec<Vec<String>> {
    let table = document.descendants().find(|node| node.attribute("id") == Some(id)).expect("a table");
    let rows = table.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "tr")));
    rows.map(|row| row.children().filter(Node::is_element).map(text).collect()).collect()
}

#[test]
fn the_page_is_well_formed_and_holds_its_own_json() {
    let summary = full();
    let page = page(&summary);
    let document = parse(&page);
    let script = document.descendants().find(|node| node.attribute("id") == Some("summary")).expect("the data");
    let inside: serde_json::Value = serde_json::from_str(&text(script)).expect("JSON");
    let written: serde_json::Value = serde_json::from_str(&table::json(&summary).expect("serializes")).expect("JSON");
    assert_eq!(inside, written);
    assert_eq!(page.matches("</script>").count(), 1, "a banner cannot end the element");
    let again = read(&page).expect("reads");
    assert_eq!(table::json(&again).expect("serializes"), table::json(&summary).expect("serializes"));
}

#[test]
fn the_page_fetches_and_runs_nothing() {
    let page = page(&full());
    let document = parse(&page);
    let names: Vec<&str> = document.descendants().filter(Node::is_element).map(|node| node.tag_name().name()).collect();
    for foreign in ["link", "img", "iframe", "object", "image", "use", "base"] {
        assert!(!names.contains(&foreign), "{foreign}");
    }
    let attributes = document.descendants().flat_map(|node| node.attributes().map(|of| of.name()).collect::<Vec<_>>());
    assert!(attributes.into_iter().all(|name| !["src", "href", "onclick", "onload", "style"].contains(&name)));
    assert!(!page.contains("url(") && !page.contains("@import"));
    let scripts = document.descendants().filter(|node| node.tag_name().name() == "script");
    assert!(scripts.into_iter().all(|node| node.attribute("type") == Some("application/json")));
}

#[test]
fn the_numbers_of_the_json_are_on_the_page() {
    let summary = full();
    let page = page(&summary);
    let document = parse(&page);
    let shown = text(document.root_element());
    for words in
        ["1,005/s", "10,045", "12,034", "129 us", "30 MB", "Audit: FAILED", "1 lost", "The generator was the limit"]
    {
        assert!(shown.contains(words), "{words}");
    }
    assert!(shown.contains("220 relay <\"ready\"> & </script>"));
    let latency = cells(&document, "latency");
    assert_eq!(latency.len(), 1 + summary.phases.len());
    for (row, phase) in latency.iter().skip(1).zip(&summary.phases) {
        let histogram = &phase.latency.0;
        assert_eq!(row[0], phase.name);
        assert_eq!(row[1], crate::values::grouped(histogram.len()));
        assert_eq!(row[4], crate::values::micros(histogram.value_at_quantile(0.99)));
        assert_eq!(row[7], crate::values::micros(histogram.max()));
    }
    let search = cells(&document, "search");
    assert_eq!(search[2], ["2000/s", "1400/s", "90.00 ms", "p99 > 50 ms"]);
}

#[test]
fn the_charts_show_what_was_measured() {
    let summary = full();
    let figures = charts::figures(&summary);
    let headings: Vec<_> = figures.iter().map(|figure| figure.heading).collect();
    assert_eq!(
        headings,
        [
            "Messages per second",
            "Latency over time, end to end",
            "Latency of a message by percentile",
            "Latency of opening a connection by percentile",
            "CPU of the server",
            "Resident memory of the server",
            "Context switches per second",
            "Bytes written per second",
            "Flushes per second",
        ]
    );
    let last = |figure: usize, series: &str| {
        let series = figures[figure].chart.series.iter().find(|of| of.name == series);
        series.expect("a line").points.last().copied().expect("a point")
    };
    // The last second may be a part of one and is not drawn as a rate.
    assert_eq!(last(0, "acknowledged"), (11.0, 1001.0));
    let (_, flushes) = last(8, "by the server's count");
    assert!((flushes - 60.0).abs() < 1e-6, "{flushes}");
    let (nines, latency) = last(2, "end to end");
    assert!((nines - 20_000f64.log10()).abs() < 1e-9, "the curve ends where the count does");
    let longest = summary.phases[4].latency.0.max() as f64;
    assert!((10f64.powf(latency) / longest - 1.0).abs() < 0.01);
    for figure in &figures {
        for (x, y) in figure.chart.series.iter().flat_map(|of| &of.points) {
            let (xs, ys) = (&figure.chart.x, &figure.chart.y);
            assert!((xs.min..=xs.max + 1e-9).contains(x) && (ys.min..=ys.max + 1e-9).contains(y), "{}", figure.heading);
        }
    }
}

#[test]
fn a_run_of_which_little_is_known_has_a_page_too() {
    let mut summary = Summary::default();
    assert!(text(parse(&page(&summary)).root_element()).contains("No audit"));
    summary.samples = vec![Sample { at_s: 0.4, ..Sample::default() }];
    summary.audit = Some(AuditCounts::default());
    assert!(text(parse(&page(&summary)).root_element()).contains("Audit: clean"));
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let json = table::json(&full()).expect("serializes");
    let newer = json.replacen("\"schema\": 1", "\"schema\": 2", 1);
    assert!(read(&newer).expect_err("version 2").to_string().contains("version 2"));
    assert!(read("{}").expect_err("no version").to_string().contains("schema"));
    assert!(read("<html>").is_err());
}

/// Names and types of everything in the JSON: what programs rely on. A change here that is not an addition needs a new version.
#[test]
fn the_shape_of_the_json_is_stable() {
    fn walk(path: &str, value: &serde_json::Value, out: &mut Vec<String>) {
        use serde_json::Value;
        let kind = match value {
            Value::Object(map) if ["replies", "errors"].iter().any(|name| path.ends_with(name)) => {
                let first = map.values().next().map_or("nothing", |_| "number");
                format!("map of {first}")
            }
            Value::Object(map) => {
                return map.iter().for_each(|(name, value)| walk(&format!("{path}.{name}"), value, out));
            }
            Value::Array(all) => match all.first() {
                Some(first) => return walk(&format!("{path}[]"), first, out),
                None => "empty list".into(),
            },
            Value::String(_) => "string".into(),
            Value::Number(_) => "number".into(),
            Value::Bool(_) => "bool".into(),
            Value::Null => "null".into(),
        };
        out.push(format!("{path}: {kind}"));
    }
    let value = serde_json::from_str(&table::json(&full()).expect("serializes")).expect("JSON");
    let mut shape = Vec::new();
    walk("", &value, &mut shape);
    insta::assert_snapshot!(shape.join("\n"));
}
