//! When to measure, and whose CPU time.

use std::time::Duration;

use rustix::process::Pid;

/// The time of a run, beginning with the first request.
pub struct Window {
    /// The first part, which is not measured.
    pub warmup: Duration,
    /// The measured part.
    pub duration: Duration,
    /// The process whose CPU time is reported for the measured part.
    pub server: Option<Pid>,
}
