//! When a transport tells its user to pause and to resume: two marks, and whether it has told.
//!
//! asyncio's documentation calls them the high-water and the low-water mark ("Flow control callbacks", "Streaming
//! protocols"). Between the two nothing is said, so that a queue which hovers about one of them does not tell with each
//! write.

use std::cell::Cell;

/// asyncio's default, in bytes (`asyncio.transports._FlowControlMixin`).
const HIGH_WATER: usize = 64 * 1024;

/// The marks of one direction, in bytes.
pub struct FlowControl {
    low: Cell<usize>,
    high: Cell<usize>,
    paused: Cell<bool>,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self::new(HIGH_WATER)
    }
}

impl FlowControl {
    /// With the high-water mark given and the low-water mark at a quarter of it, as asyncio has them; not paused.
    pub fn new(high: usize) -> Self {
        Self {
            low: Cell::new(high / 4),
            high: Cell::new(high),
            paused: Cell::new(false),
        }
    }

    /// Whether to pause now that so many bytes wait: they are above the mark, and it is not paused.
    #[inline]
    pub fn must_pause(&self, waiting: usize) -> bool {
        waiting > self.high.get() && !self.paused.get()
    }

    /// Whether to pause where the mark itself is too much, as asyncio's TLS protocol does.
    #[inline]
    pub fn must_pause_at_mark(&self, waiting: usize) -> bool {
        waiting >= self.high.get() && !self.paused.get()
    }

    /// Whether to resume now that so many bytes wait: they are at the mark or below, and it is paused.
    #[inline]
    pub fn must_resume(&self, waiting: usize) -> bool {
        self.paused.get() && waiting <= self.low.get()
    }

    /// Whether the user was told to pause, and not yet to resume.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Notes that the user is being told.
    pub fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
    }

    /// The mark at or below which to resume.
    pub fn low(&self) -> usize {
        self.low.get()
    }

    /// The mark above which to pause.
    pub fn high(&self) -> usize {
        self.high.get()
    }

    /// Sets the mark at or below which to resume; nothing is told before the next look.
    pub fn set_low(&self, low: usize) {
        self.low.set(low);
    }

    /// Sets the mark above which to pause, likewise.
    pub fn set_high(&self, high: usize) {
        self.high.set(high);
    }
}
