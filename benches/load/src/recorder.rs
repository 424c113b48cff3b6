//! What is counted: operations, errors and the latency of each operation.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::probe::{CpuTime, Probe};
use crate::window::Window;

/// Slower than this is recorded as this: a minute says "broken" well enough.
const SLOWEST: Duration = Duration::from_secs(60);

/// A server that has not answered every connection once after this and the window's own time
/// twice is not going to.
const START_LIMIT: Duration = Duration::from_secs(3);

/// Counts everything, keeps latencies only of operations that end inside the measured window.
pub struct Recorder {
    warmup: Duration,
    duration: Duration,
    /// When to give up if `start` was not called.
    start_limit: Instant,
    /// Both ends of the window, once the warm-up has started.
    window: Option<(Instant, Instant)>,
    server: Option<Probe>,
    /// The server's clocks when the window opened, once it has.
    server_begun: Option<CpuTime>,
    latencies_ns: Histogram<u64>,
    all_operations: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Recorder {
    /// A recorder that waits for its warm-up to be started.
    pub fn new(window: &Window) -> Result<Self, Failure> {
        let latencies_ns = Histogram::new_with_bounds(1, nanoseconds(SLOWEST), 3)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self {
            warmup: window.warmup,
            duration: window.duration,
            start_limit: Instant::now() + START_LIMIT + (window.warmup + window.duration) * 2,
            window: None,
            server: window.server.map(Probe::new).transpose()?,
            server_begun: None,
            latencies_ns,
            all_operations: 0,
            errors: 0,
            first_error: None,
        })
    }

    /// Starts the warm-up: the server has accepted what it has to accept.
    pub fn start(&mut self, now: Instant) {
        let measured_from = now + self.warmup;
        self.window = Some((measured_from, measured_from + self.duration));
    }

    /// How long to wait for events at most, `None` once the window is over. Has to be called in
    /// every turn: it looks at the server's clocks when the window opens.
    pub fn left(&mut self, now: Instant) -> Result<Option<Duration>, Failure> {
        let Some((measured_from, end)) = self.window else {
            return Ok((now < self.start_limit).then(|| self.start_limit - now));
        };
        if now >= end {
            return Ok(None);
        }
        if now < measured_from {
            return Ok(Some(measured_from - now));
        }
        if let (Some(probe), None) = (&self.server, &self.server_begun) {
            self.server_begun = Some(probe.read()?);
        }
        Ok(Some(end - now))
    }

    /// An operation that began at `begun` ended well at `ended`.
    pub fn finished(&mut self, begun: Instant, ended: Instant) {
        self.all_operations += 1;
        if self.window.is_some_and(|(from, _)| ended >= from) {
            self.latencies_ns
                .saturating_record(nanoseconds(ended - begun));
        }
    }

    /// An operation failed; only the first reason is kept. Errors count during warm-up too.
    pub fn failed(&mut self, why: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(why);
    }

    /// The result. `ended` is the end of the window; `interrupted` says that a signal set it.
    pub fn report(&self, ended: Instant, interrupted: bool) -> Result<Value, Failure> {
        let operations = self.latencies_ns.len();
        let seconds = self.window.map_or(0.0, |(measured_from, _)| {
            ended.saturating_duration_since(measured_from).as_secs_f64()
        });
        if operations == 0 && self.errors == 0 {
            return Err(Failure::NothingMeasured);
        }
        let mut cpu_us = Value::Null;
        let mut user_us = Value::Null;
        if let (Some(probe), Some(begun)) = (&self.server, self.server_begun)
            && operations > 0
        {
            let used = probe.read()?.since(begun);
            cpu_us = (used.total / operations as f64 * 1e6).into();
            user_us = (used.user / operations as f64 * 1e6).into();
        }
        Ok(json!({
            "operations": operations,
            "all_operations": self.all_operations,
            "seconds": seconds,
            "per_second": if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            "p50_us": self.microseconds_at(0.5),
            "p99_us": self.microseconds_at(0.99),
            "p999_us": self.microseconds_at(0.999),
            "cpu_us": cpu_us,
            "user_us": user_us,
            "errors": self.errors,
            "first_error": self.first_error,
            "interrupted": interrupted,
        }))
    }

    fn microseconds_at(&self, quantile: f64) -> f64 {
        self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_end_in_the_warm_up_have_no_latency_but_are_counted() {
        let (mut recorder, opens) = started(Duration::from_secs(1));
        recorder.finished(
            opens - Duration::from_millis(2),
            opens - Duration::from_millis(1),
        );
        recorder.finished(opens, opens + Duration::from_millis(2));

        let report = recorder
            .report(opens + Duration::from_secs(2), false)
            .unwrap();

        assert_eq!(report["all_operations"], 2);
        assert_eq!(report["operations"], 1);
        assert_eq!(report["per_second"], 0.5);
        let p50 = report["p50_us"].as_f64().unwrap();
        assert!((1998.0..=2002.0).contains(&p50), "{p50}");
        assert!(report["cpu_us"].is_null());
    }

    #[test]
    fn a_window_without_operations_is_a_failure_not_a_zero() {
        let (recorder, opens) = started(Duration::ZERO);
        assert!(matches!(
            recorder.report(opens + Duration::from_secs(1), false),
            Err(Failure::NothingMeasured)
        ));
    }

    #[test]
    fn the_wait_ends_when_the_window_opens_and_again_when_it_closes() {
        let (mut recorder, opens) = started(Duration::from_secs(3));
        let second = Duration::from_secs(1);
        assert_eq!(recorder.left(opens - second).unwrap(), Some(second));
        assert_eq!(recorder.left(opens).unwrap(), Some(second));
        assert_eq!(recorder.left(opens + second).unwrap(), None);
    }

    #[test]
    fn a_window_that_is_never_started_ends_too() {
        let mut recorder = recorder(Duration::ZERO);
        let now = Instant::now();
        assert!(recorder.left(now).unwrap().is_some());
        assert_eq!(recorder.left(now + 3 * START_LIMIT).unwrap(), None);
    }

    fn recorder(warmup: Duration) -> Recorder {
        Recorder::new(&Window {
            warmup,
            duration: Duration::from_secs(1),
            server: None,
        })
        .unwrap()
    }

    /// A recorder whose warm-up has started, and when its window opens.
    fn started(warmup: Duration) -> (Recorder, Instant) {
        let mut recorder = recorder(warmup);
        let now = Instant::now();
        recorder.start(now);
        (recorder, now + warmup)
    }
}
