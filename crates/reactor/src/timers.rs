//! Callbacks that wait for a moment: a binary heap by deadline, with lazy deletion.
//!
//! Deadlines are floats in seconds because asyncio's `when` is one: converted to integers they could round down, and a
//! timer must never fire before its time. A cancelled timer stays in the heap until it is due or until cancelled ones
//! are the majority; asyncio does the same, with the same two constants, so the cost of a cancelled timeout is constant.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// asyncio's `_MIN_SCHEDULED_TIMER_HANDLES`: below this many entries, compaction is not worth it.
const COMPACT_ABOVE: usize = 100;

/// A queue by deadline (seconds of the loop's clock), first in first out among equal ones.
///
/// A deadline that is not a number sorts first and counts as due; infinity sorts last.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Entry<T>>,
    next_sequence: u64,
    cancelled: usize,
}

impl<T> Timers<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next_sequence: 0,
            cancelled: 0,
        }
    }

    /// Add `item`, due at `deadline`. O(log n), O(1) if it is the last to be due.
    pub fn push(&mut self, deadline: f64, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.heap.push(Entry {
            deadline,
            sequence,
            item,
        });
    }

    /// How many entries there are, cancelled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline, which may be that of a cancelled entry.
    #[must_use]
    pub fn next_deadline(&self) -> Option<f64> {
        self.heap.peek().map(|entry| entry.deadline)
    }

    /// The entry with the earliest deadline.
    #[must_use]
    pub fn peek(&self) -> Option<&T> {
        self.heap.peek().map(|entry| &entry.item)
    }

    /// Take out the entry with the earliest deadline.
    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.item)
    }

    /// Take out the entry with the earliest deadline if that is not after `now`.
    pub fn pop_due(&mut self, now: f64) -> Option<T> {
        let deadline = self.next_deadline()?;
        if deadline <= now || deadline.is_nan() {
            self.pop()
        } else {
            None
        }
    }

    /// Count one entry in the queue as cancelled.
    pub fn note_cancelled(&mut self) {
        self.cancelled += 1;
    }

    /// Count one cancelled entry less: it was popped.
    pub fn note_cancelled_removed(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// How many entries are counted as cancelled.
    #[must_use]
    pub const fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// Whether cancelled entries are so many (over half of more than 100) that [`Timers::compact`] pays.
    #[must_use]
    pub fn needs_compaction(&self) -> bool {
        self.len() > COMPACT_ABOVE && self.cancelled > self.len() / 2
    }

    /// Take out and return the entries for which `is_cancelled` holds, in no particular order. O(n).
    pub fn compact(&mut self, mut is_cancelled: impl FnMut(&T) -> bool) -> Vec<T> {
        let expected = self.cancelled.min(self.len());
        let mut removed = Vec::with_capacity(expected);
        let mut kept = Vec::with_capacity(self.len() - expected);
        for entry in std::mem::take(&mut self.heap) {
            if is_cancelled(&entry.item) {
                removed.push(entry.item);
            } else {
                kept.push(entry);
            }
        }
        self.heap = BinaryHeap::from(kept);
        self.cancelled = 0;
        removed
    }

    /// Take out everything, in no particular order.
    pub fn drain(&mut self) -> Vec<T> {
        self.cancelled = 0;
        let heap = std::mem::take(&mut self.heap);
        heap.into_iter().map(|entry| entry.item).collect()
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.heap.iter().map(|entry| &entry.item)
    }

    /// Every entry with its deadline, in the order in which they would be popped. O(n log n).
    #[must_use]
    pub fn iter_sorted(&self) -> Vec<(f64, &T)> {
        let mut entries: Vec<_> = self.heap.iter().collect();
        entries.sort_unstable_by(|a, b| b.cmp(a));
        let pairs = entries.into_iter();
        pairs.map(|entry| (entry.deadline, &entry.item)).collect()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Entry<T> {
    deadline: f64,
    sequence: u64,
    item: T,
}

// The standard library's heap pops the greatest first, so the earliest entry has to be the greatest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Only a NaN makes `partial_cmp` fail. `total_cmp` would not do: it tells 0.0 from -0.0.
        let by_deadline = other
            .deadline
            .partial_cmp(&self.deadline)
            .unwrap_or_else(|| self.deadline.is_nan().cmp(&other.deadline.is_nan()));
        by_deadline.then_with(|| other.sequence.cmp(&self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut timers = Timers::new();
        for (deadline, item) in [(0.0, 'a'), (-0.0, 'b'), (0.0, 'c')] {
            timers.push(deadline, item);
        }
        let popped: String = std::iter::from_fn(|| timers.pop()).collect();
        assert_eq!(popped, "abc");
    }

    #[test]
    fn not_a_number_is_due_at_once_and_infinity_never() {
        let mut timers = Timers::new();
        timers.push(f64::INFINITY, 'i');
        timers.push(f64::NEG_INFINITY, 'm');
        timers.push(f64::NAN, 'n');
        timers.push(-f64::NAN, 'o');
        assert!(timers.next_deadline().is_some_and(f64::is_nan));
        let due: String = std::iter::from_fn(|| timers.pop_due(f64::MAX)).collect();
        assert_eq!(due, "nom");
        assert_eq!(timers.next_deadline(), Some(f64::INFINITY));
        assert_eq!(timers.peek(), Some(&'i'));
    }

    #[test]
    fn a_deadline_is_due_at_its_very_time_and_not_one_step_before() {
        let mut timers = Timers::new();
        let deadline = 1234.567_f64;
        timers.push(deadline, ());
        assert_eq!(timers.pop_due(deadline.next_down()), None);
        assert_eq!(timers.pop_due(deadline), Some(()));
    }

    #[test]
    fn compaction_is_due_above_asyncios_two_limits_only() {
        let mut timers = Timers::new();
        let cancel = |timers: &mut Timers<u32>, count: u32| {
            (0..count).for_each(|_| timers.note_cancelled());
        };
        (0..100).for_each(|item| timers.push(0.0, item));
        cancel(&mut timers, 100);
        assert!(!timers.needs_compaction(), "100 entries are too few");
        timers.push(0.0, 100);
        assert!(timers.needs_compaction());
        (0..50).for_each(|_| timers.note_cancelled_removed());
        assert_eq!((timers.cancelled(), timers.len()), (50, 101));
        assert!(!timers.needs_compaction(), "50 of 101 is less than half");
        cancel(&mut timers, 1);
        assert!(timers.needs_compaction());
    }
}
