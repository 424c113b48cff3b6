//! The CPU time of the server under load, as proc(5) tells it.
//!
//! The load generator takes it at both ends of the measured window, so that neither start-up nor
//! connecting nor the warm-up is in it. `/proc/PID/task/*/schedstat` counts nanoseconds of all
//! threads; `/proc/PID/stat` has the split into user and system, in ticks of a hundredth of a
//! second, which is used as a proportion only.

use std::path::PathBuf;

use rustix::process::Pid;

use crate::failure::Failure;

/// `USER_HZ`: what proc(5) counts ticks in, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the times of one process can be read.
pub struct Probe {
    folder: PathBuf,
}

/// CPU time so far.
#[derive(Clone, Copy, Default)]
pub struct CpuTime {
    nanoseconds: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// CPU time between two moments, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// All of it.
    pub total: f64,
    /// The part in user mode.
    pub user: f64,
}

impl Probe {
    /// A probe of the process `pid`, which must be alive.
    pub fn new(pid: Pid) -> Result<Self, Failure> {
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let probe = Self { folder };
        probe.read()?;
        Ok(probe)
    }

    /// Reads the clocks.
    pub fn read(&self) -> Result<CpuTime, Failure> {
        let times = || -> std::io::Result<CpuTime> {
            let mut nanoseconds = 0;
            for task in std::fs::read_dir(self.folder.join("task"))? {
                // A thread that ended meanwhile takes its time with it; servers keep theirs.
                let text = std::fs::read_to_string(task?.path().join("schedstat"));
                nanoseconds += text.ok().as_deref().and_then(first_number).unwrap_or(0);
            }
            let stat = std::fs::read_to_string(self.folder.join("stat"))?;
            let (user_ticks, system_ticks) = ticks(&stat).unwrap_or((0, 0));
            Ok(CpuTime {
                nanoseconds,
                user_ticks,
                system_ticks,
            })
        };
        times().map_err(|error| {
            Failure::io(
                format!("cannot read the times in {}", self.folder.display()),
                error,
            )
        })
    }
}

impl CpuTime {
    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Used {
        let user = self.user_ticks.saturating_sub(earlier.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(earlier.system_ticks) as f64;
        let ticks = user + system;
        let precise = self.nanoseconds.saturating_sub(earlier.nanoseconds) as f64 / 1e9;
        // A kernel without scheduler statistics leaves the ticks.
        let total = if precise > 0.0 {
            precise
        } else {
            ticks / TICKS_PER_SECOND
        };
        let share = if ticks > 0.0 { user / ticks } else { 0.0 };
        Used {
            total,
            user: total * share,
        }
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second field is a name in parentheses that may hold
/// anything, so they are counted from the last parenthesis.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_parentheses_and_spaces() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 140 15 0 0";
        assert_eq!(ticks(stat), Some((140, 15)));
    }

    #[test]
    fn the_split_is_a_proportion_of_the_precise_time() {
        let later = CpuTime {
            nanoseconds: 2_000_000_000,
            user_ticks: 30,
            system_ticks: 90,
        };
        let used = later.since(CpuTime {
            nanoseconds: 1_000_000_000,
            user_ticks: 5,
            system_ticks: 15,
        });
        assert!((used.total - 1.0).abs() < 1e-9, "{used:?}");
        assert!((used.user - 0.25).abs() < 1e-9, "{used:?}");
    }

    #[test]
    fn the_own_process_can_be_probed_and_one_that_is_not_there_cannot() {
        let own = Probe::new(rustix::process::getpid()).unwrap();
        own.read().unwrap();
        assert!(Probe::new(Pid::from_raw(i32::MAX).unwrap()).is_err());
    }
}
