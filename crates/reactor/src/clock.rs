//! The loop's clock: `CLOCK_MONOTONIC`, in the two forms that the loop needs.
//!
//! asyncio's `loop.time()` is documented to be `time.monotonic()`, and programs mix the two, so the float must be the
//! very same one, bit for bit. CPython divides the nanoseconds by 1e9 as doubles, except for whole seconds, which it
//! divides as integers (`PyTime_AsSecondsDouble`, 3.11 to 3.15).

use rustix::time::{ClockId, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC` (clock_gettime(2)), which starts at some point before the machine's boot ends.
#[must_use]
pub fn now_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The monotonic clock is never negative: the kernel starts it at zero.
    time.tv_sec.unsigned_abs() * NANOS_PER_SECOND + time.tv_nsec.unsigned_abs()
}

/// Seconds of `CLOCK_MONOTONIC`: the float that `time.monotonic()` returns at the same instant.
#[must_use]
pub fn now_seconds() -> f64 {
    seconds_of(now_nanos())
}

/// Convert as CPython does. The two branches differ once the nanoseconds no longer fit the 53 bits of a double
/// (after 104 days of uptime).
#[allow(clippy::cast_precision_loss)] // the rounding is the point: it must be CPython's
fn seconds_of(nanos: u64) -> f64 {
    if nanos.is_multiple_of(NANOS_PER_SECOND) {
        (nanos / NANOS_PER_SECOND) as f64
    } else {
        nanos as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_run_backwards() {
        let (first, second) = (now_nanos(), now_nanos());
        assert!(0 < first && first <= second);
    }

    #[test]
    fn both_forms_read_the_same_clock() {
        let before = seconds_of(now_nanos());
        let between = now_seconds();
        assert!(before <= between && between <= seconds_of(now_nanos()));
    }

    #[test]
    fn whole_seconds_are_exact_however_long_the_machine_is_up() {
        for seconds in [0, 1, 9_007_199, 1 << 33] {
            assert_eq!(seconds_of(seconds * NANOS_PER_SECOND), seconds as f64);
        }
    }

    #[test]
    fn fractions_are_divided_as_doubles() {
        // What CPython 3.11's `_PyTime_AsSecondsDouble` makes of the same nanoseconds.
        assert_eq!(seconds_of(1_500_000_000), 1.5);
        assert_eq!(seconds_of(1), 1e-9);
        assert_eq!(
            seconds_of(123_456_789_012_345_678).to_bits(),
            0x419d_6f34_540c_a459
        );
    }
}
