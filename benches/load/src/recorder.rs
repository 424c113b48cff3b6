//! What is counted: operations, errors and the latency of each operation.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Slower than this is recorded as this: a minute says "broken" well enough.
const SLOWEST: Duration = Duration::from_secs(60);

/// Counts everything, keeps latencies only of operations that end inside the measured window.
pub struct Recorder {
    measured_from: Instant,
    latencies_ns: Histogram<u64>,
    all_operations: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Recorder {
    /// A recorder whose window opens at `measured_from`.
    pub fn new(measured_from: Instant) -> Result<Self, Failure> {
        let latencies_ns = Histogram::new_with_bounds(1, nanoseconds(SLOWEST), 3)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self {
            measured_from,
            latencies_ns,
            all_operations: 0,
            errors: 0,
            first_error: None,
        })
    }

    /// An operation that began at `begun` ended well at `ended`.
    pub fn finished(&mut self, begun: Instant, ended: Instant) {
        self.all_operations += 1;
        if ended >= self.measured_from {
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
    ///
    /// `all_operations` includes the warm-up: it is what a server's whole CPU time is divided by.
    pub fn report(&self, ended: Instant, interrupted: bool) -> Result<Value, Failure> {
        let operations = self.latencies_ns.len();
        let seconds = ended
            .saturating_duration_since(self.measured_from)
            .as_secs_f64();
        if operations == 0 && self.errors == 0 {
            return Err(Failure::NothingMeasured);
        }
        Ok(json!({
            "operations": operations,
            "all_operations": self.all_operations,
            "seconds": seconds,
            "per_second": if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            "p50_us": self.microseconds_at(0.5),
            "p99_us": self.microseconds_at(0.99),
            "p999_us": self.microseconds_at(0.999),
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
        let begun = Instant::now();
        let window = begun + Duration::from_secs(1);
        let mut recorder = Recorder::new(window).unwrap();
        recorder.finished(begun, begun + Duration::from_millis(1));
        recorder.finished(window, window + Duration::from_millis(2));

        let report = recorder
            .report(window + Duration::from_secs(2), false)
            .unwrap();

        assert_eq!(report["all_operations"], 2);
        assert_eq!(report["operations"], 1);
        assert_eq!(report["per_second"], 0.5);
        let p50 = report["p50_us"].as_f64().unwrap();
        assert!((1998.0..=2002.0).contains(&p50), "{p50}");
    }

    #[test]
    fn a_window_without_operations_is_a_failure_not_a_zero() {
        let now = Instant::now();
        let recorder = Recorder::new(now).unwrap();
        assert!(matches!(
            recorder.report(now + Duration::from_secs(1), false),
            Err(Failure::NothingMeasured)
        ));
    }
}
