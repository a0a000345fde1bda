//! The metrics scrape: `GET /metrics` in the Prometheus text format, on its own port.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Ask;
use crate::observe::{Counter, Gauge, Snapshot, Timing};

/// Connections served at a time: scrapers, not the public.
const CONNECTIONS_MAX: usize = 16;
/// Time for a request to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Upper bounds of the exported latency buckets, in microseconds.
const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000, 60_000_000];

/// Serves scrapes until the runtime ends.
///
/// # Errors
/// The listener cannot be given to this runtime.
pub async fn serve(listener: std::net::TcpListener, ask: Arc<dyn Ask>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let ask = ask.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| respond(request, ask.clone()));
            let _ = hyper::server::conn::http1::Builder::new() // a scraper that left needs no answer
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_WITHIN)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
    }
}

async fn respond(request: Request<Incoming>, ask: Arc<dyn Ask>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics" | "/metrics/prometheus") => match render(&ask.snapshot().await) {
            Ok(text) => (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "cannot render\n".into()),
        },
        (&Method::GET, "/health") => health(&ask.snapshot().await),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "there is /metrics and /health\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

fn health(snapshot: &Snapshot) -> (StatusCode, &'static str, String) {
    match snapshot.gauge(Gauge::SpoolHealth) {
        0 => (StatusCode::OK, "text/plain", "ready\n".into()),
        1 => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "spool full: new mail is deferred\n".into()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "spool sick: writes fail\n".into()),
    }
}

/// The snapshot in the OpenMetrics text format.
fn render(snapshot: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("posthaste");
    registry.register_collector(Box::new(Shards(snapshot.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Shards(Snapshot);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for counter in Counter::ALL {
            let value = ConstCounter::new(self.0.counter(*counter));
            let metric = encoder.encode_descriptor(counter.name(), counter.help(), None, value.metric_type())?;
            value.encode(metric)?;
        }
        for gauge in Gauge::ALL {
            let value = ConstGauge::new(self.0.gauge(*gauge));
            let metric = encoder.encode_descriptor(gauge.name(), gauge.help(), None, value.metric_type())?;
            value.encode(metric)?;
        }
        for timing in Timing::ALL {
            let histogram = self.0.timing(*timing);
            let mut metric = encoder.encode_descriptor(
                timing.name(),
                timing.help(),
                Some(&Unit::Seconds),
                prometheus_client::metrics::MetricType::Histogram,
            )?;
            let mut below = 0;
            let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(BUCKETS_US.len() + 1);
            for bound in BUCKETS_US {
                let upto = histogram.count_between(0, bound);
                buckets.push((bound as f64 / 1e6, upto - below));
                below = upto;
            }
            buckets.push((f64::INFINITY, histogram.len() - below));
            let sum = histogram.mean() * histogram.len() as f64 / 1e6;
            metric.encode_histogram::<prometheus_client::encoding::NoLabelSet>(sum, histogram.len(), &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe;

    #[test]
    fn what_was_counted_is_exported() {
        let snapshot = std::thread::spawn(|| {
            observe::add(Counter::MessagesAccepted, 7);
            observe::gauge_set(Gauge::SpoolHealth, 1);
            observe::record_micros(Timing::Commit, 300);
            observe::record_micros(Timing::Commit, 30_000_000);
            observe::snapshot()
        })
        .join()
        .expect("counting does not panic");
        let text = render(&snapshot).expect("rendered");
        for line in [
            "# HELP posthaste_session_messages_accepted Messages acknowledged with 250.",
            "posthaste_session_messages_accepted_total 7",
            "posthaste_spool_health 1",
            "posthaste_spool_commit_seconds_bucket{le=\"0.0005\"} 1",
            "posthaste_spool_commit_seconds_bucket{le=\"+Inf\"} 2",
            "posthaste_spool_commit_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert_eq!(health(&snapshot).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health(&Snapshot::default()).0, StatusCode::OK);
    }
}
