//! Counters, gauges and histograms, and the routes an operator watches.
//! Source: Prometheus text exposition format 0.0.4. Labels are static, so nothing of a payment can leave (G13).
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bounds that suit a payment's time, in microseconds.
pub const PAYMENT_BOUNDS_US: &[u64] =
    &[1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Adds, or takes away.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a histogram counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Observed in microseconds, shown in seconds.
    Seconds,
    /// Observed and shown as whole numbers.
    Count,
}

/// How often values fell below fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    unit: Unit,
    /// Upper bounds, rising, in microseconds or whole numbers, and how many values fell between one and the next.
    buckets: Vec<(u64, AtomicU64)>,
    above: AtomicU64,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram; `bounds` rise, in microseconds for [`Unit::Seconds`].
    #[must_use]
    pub fn new(unit: Unit, bounds: &[u64]) -> Self {
        let buckets = bounds.iter().map(|bound| (*bound, AtomicU64::new(0))).collect();
        Self { unit, buckets, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.observe_number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a number: microseconds for [`Unit::Seconds`].
    pub fn observe_number(&self, n: u64) {
        let bucket = self.buckets.iter().find(|(bound, _)| n <= *bound).map(|(_, count)| count);
        bucket.unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(n, Ordering::Relaxed);
    }
}

/// A label with its value, both fixed in the program.
pub type Label = Option<(&'static str, &'static str)>;

/// All the numbers one program shows. The lock is taken when a number is made and when all are shown, never
/// when one is counted.
#[derive(Debug, Default)]
pub struct Registry {
    families: Mutex<Vec<Family>>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    series: Vec<(Label, Series)>,
}

#[derive(Debug)]
enum Series {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
}

impl Registry {
    /// A registry without numbers.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A new counter; its name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Arc<Counter> {
        self.counter_with(name, help, None)
    }

    /// A new counter with a label. Counters of one name are shown together.
    pub fn counter_with(&self, name: &'static str, help: &'static str, label: Label) -> Arc<Counter> {
        let counter = Arc::new(Counter::default());
        self.add(name, help, label, Series::Counter(Arc::clone(&counter)));
        counter
    }

    /// A new gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Arc<Gauge> {
        self.gauge_with(name, help, None)
    }

    /// A new gauge with a label.
    pub fn gauge_with(&self, name: &'static str, help: &'static str, label: Label) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::default());
        self.add(name, help, label, Series::Gauge(Arc::clone(&gauge)));
        gauge
    }

    /// A new histogram; its name ends in the unit.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        label: Label,
        unit: Unit,
        bounds: &[u64],
    ) -> Arc<Histogram> {
        let histogram = Arc::new(Histogram::new(unit, bounds));
        self.add(name, help, label, Series::Histogram(Arc::clone(&histogram)));
        histogram
    }

    /// The text that a Prometheus server reads.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for family in families.iter() {
            family.render(&mut text);
        }
        text
    }

    fn add(&self, name: &'static str, help: &'static str, label: Label, series: Series) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.series.push((label, series)),
            None => families.push(Family { name, help, series: vec![(label, series)] }),
        }
    }
}

impl Family {
    fn render(&self, text: &mut String) {
        let kind = match self.series.first() {
            Some((_, Series::Counter(_))) => "counter",
            Some((_, Series::Gauge(_))) => "gauge",
            Some((_, Series::Histogram(_))) => "histogram",
            None => return,
        };
        let name = self.name;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(self.help));
        for (label, series) in &self.series {
            let _ = match series {
                Series::Counter(counter) => {
                    writeln!(text, "{name}{} {}", labels(*label, None), counter.get())
                }
                Series::Gauge(gauge) => writeln!(text, "{name}{} {}", labels(*label, None), gauge.get()),
                Series::Histogram(histogram) => histogram.render(text, name, *label),
            };
        }
    }
}

impl Histogram {
    fn render(&self, text: &mut String, name: &str, label: Label) -> std::fmt::Result {
        let mut count = 0_u64;
        for (bound, within) in &self.buckets {
            count = count.saturating_add(within.load(Ordering::Relaxed));
            writeln!(text, "{name}_bucket{} {count}", labels(label, Some(&self.shown(*bound))))?;
        }
        count = count.saturating_add(self.above.load(Ordering::Relaxed));
        writeln!(text, "{name}_bucket{} {count}", labels(label, Some("+Inf")))?;
        let sum = self.shown(self.sum.load(Ordering::Relaxed));
        writeln!(text, "{name}_sum{} {sum}\n{name}_count{} {count}", labels(label, None), labels(label, None))
    }

    fn shown(&self, n: u64) -> String {
        match self.unit {
            Unit::Count => n.to_string(),
            Unit::Seconds => {
                let time = Duration::from_micros(n);
                let text = format!("{}.{:06}", time.as_secs(), time.subsec_micros());
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }
}

fn labels(label: Label, le: Option<&str>) -> String {
    let own = label.map(|(name, value)| format!("{name}=\"{}\"", escaped(value).replace('"', "\\\"")));
    let le = le.map(|bound| format!("le=\"{bound}\""));
    match (own, le) {
        (None, None) => String::new(),
        (Some(one), None) | (None, Some(one)) => format!("{{{one}}}"),
        (Some(own), Some(le)) => format!("{{{own},{le}}}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

/// `/healthz` (200 while the program runs), `/readyz` (200 or 503, as `ready` says) and `/metrics`.
pub fn operating_routes(
    registry: Arc<Registry>,
    ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/healthz", get(async || plain(StatusCode::OK, "ok\n".to_owned())))
        .route(
            "/readyz",
            get(async move || {
                if ready() {
                    plain(StatusCode::OK, "ready\n".to_owned())
                } else {
                    plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
                }
            }),
        )
        .route("/metrics", get(async move || plain(StatusCode::OK, registry.render())))
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
