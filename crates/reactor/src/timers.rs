//! Callbacks that wait for a moment: a queue by deadline, with lazy insertion and lazy deletion.
//!
//! Deadlines are floats in seconds because asyncio's `when` is one: converted to integers they could round down, and a
//! timer must never fire before its time. A cancelled timer stays in the queue until it is due or until cancelled ones
//! are the majority; asyncio does the same, with the same two constants, so the cost of a cancelled timeout is constant.
//!
//! Most timeouts are cancelled soon, and programs use few different delays. So a new entry is only noted at first, and
//! sorted in by [`Timers::settle`] if it has not been cancelled by then; and it is sorted into a run of ascending
//! deadlines if it is later than the last one there, which costs no comparison with others, and into a binary heap
//! otherwise.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// asyncio's `_MIN_SCHEDULED_TIMER_HANDLES`: below this many entries, compaction is not worth it.
const COMPACT_ABOVE: usize = 100;
/// Memory for more entries than this is given back when they are gone.
const KEPT: usize = 16 * 1024;

/// A queue by deadline (seconds of the loop's clock), first in first out among equal ones.
///
/// A deadline that is not a number sorts first and counts as due; infinity sorts last.
#[derive(Debug)]
pub struct Timers<T> {
    /// What was pushed since [`Timers::settle`].
    fresh: Vec<Entry<T>>,
    /// Ascending.
    run: VecDeque<Entry<T>>,
    /// Every other.
    heap: BinaryHeap<Entry<T>>,
    /// How many there are in all three.
    count: usize,
    next_sequence: u64,
    cancelled: usize,
}

impl<T> Timers<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fresh: Vec::new(),
            run: VecDeque::new(),
            heap: BinaryHeap::new(),
            count: 0,
            next_sequence: 0,
            cancelled: 0,
        }
    }

    /// Add `item`, due at `deadline`. O(1); it is not among what can be popped before [`Timers::settle`].
    #[inline]
    pub fn push(&mut self, deadline: f64, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.count += 1;
        self.fresh.push(Entry {
            deadline,
            sequence,
            item,
        });
    }

    /// Whether there is something to [settle](Timers::settle).
    #[must_use]
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Sort in what was pushed since the last time: O(log n) each, O(1) if it is the last to be due.
    ///
    /// Where there are so many entries that [`Timers::compact`] could pay, the new ones that are cancelled already are
    /// returned instead. `settled` is called for each of the others.
    pub fn settle(
        &mut self,
        mut is_cancelled: impl FnMut(&T) -> bool,
        mut settled: impl FnMut(&T),
    ) -> Vec<T> {
        let drops = self.cancelled > 0 && self.len() > COMPACT_ABOVE;
        let mut removed = Vec::new();
        if drops {
            removed.reserve_exact(self.cancelled.min(self.fresh.len()));
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        for entry in fresh.drain(..) {
            if drops && is_cancelled(&entry.item) {
                self.note_cancelled_removed();
                self.count -= 1;
                removed.push(entry.item);
            } else {
                settled(&entry.item);
                self.insert(entry);
            }
        }
        if fresh.capacity() <= KEPT {
            self.fresh = fresh;
        }
        removed
    }

    fn insert(&mut self, entry: Entry<T>) {
        match self.run.back() {
            Some(last) if entry.is_before(last) => {
                // A single entry far away must not keep all others out of the run.
                if self.run.len() == 1
                    && let Some(far) = self.run.pop_back()
                {
                    self.heap.push(far);
                    self.run.push_back(entry);
                } else {
                    self.heap.push(entry);
                }
            }
            _ => self.run.push_back(entry),
        }
    }

    /// How many entries there are, cancelled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no entry at all.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The settled entry with the earliest deadline.
    fn first(&self) -> Option<&Entry<T>> {
        match (self.run.front(), self.heap.peek()) {
            (Some(run), Some(heap)) if heap.is_before(run) => Some(heap),
            (None, heap) => heap,
            (run, _) => run,
        }
    }

    /// The earliest deadline, which may be that of a cancelled entry.
    #[must_use]
    pub fn next_deadline(&self) -> Option<f64> {
        self.first().map(|entry| entry.deadline)
    }

    /// The entry with the earliest deadline.
    #[must_use]
    pub fn peek(&self) -> Option<&T> {
        self.first().map(|entry| &entry.item)
    }

    /// Take out the entry with the earliest deadline.
    pub fn pop(&mut self) -> Option<T> {
        let from_heap = match (self.run.front(), self.heap.peek()) {
            (Some(run), Some(heap)) => heap.is_before(run),
            (run, _) => run.is_none(),
        };
        let entry = if from_heap {
            self.heap.pop()
        } else {
            self.run.pop_front()
        }?;
        self.count -= 1;
        if self.run.is_empty() && self.run.capacity() > KEPT {
            self.run = VecDeque::new();
        }
        Some(entry.item)
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
    #[inline]
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
        let mut keep = |entry: Entry<T>| {
            if is_cancelled(&entry.item) {
                removed.push(entry.item);
                return None;
            }
            Some(entry)
        };
        // The order of what is kept does not change, so the run stays ascending.
        let run = std::mem::take(&mut self.run);
        self.run = run.into_iter().filter_map(&mut keep).collect();
        let heap = std::mem::take(&mut self.heap);
        self.heap = heap.into_iter().filter_map(&mut keep).collect();
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh = fresh.into_iter().filter_map(&mut keep).collect();
        self.count -= removed.len();
        self.cancelled = 0;
        removed
    }

    /// Take out everything, in no particular order.
    pub fn drain(&mut self) -> Vec<T> {
        self.cancelled = 0;
        self.count = 0;
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let run = std::mem::take(&mut self.run).into_iter();
        let heap = std::mem::take(&mut self.heap).into_iter();
        let all = fresh.chain(run).chain(heap);
        all.map(|entry| entry.item).collect()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<T>> + '_ {
        self.fresh.iter().chain(&self.run).chain(&self.heap)
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.entries().map(|entry| &entry.item)
    }

    /// Every entry with its deadline, in the order in which they would be popped. O(n log n).
    #[must_use]
    pub fn iter_sorted(&self) -> Vec<(f64, &T)> {
        let mut entries: Vec<_> = self.entries().collect();
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

impl<T> Entry<T> {
    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Greater
    }
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

    fn settle_all<T>(timers: &mut Timers<T>) {
        let removed = timers.settle(|_| false, |_| ());
        assert!(removed.is_empty());
    }

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut timers = Timers::new();
        for (deadline, item) in [(0.0, 'a'), (-0.0, 'b'), (0.0, 'c')] {
            timers.push(deadline, item);
        }
        settle_all(&mut timers);
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
        settle_all(&mut timers);
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
        settle_all(&mut timers);
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

    #[test]
    fn a_timer_that_is_cancelled_at_once_is_never_sorted_in_where_there_are_many() {
        let mut timers = Timers::new();
        (0..100).for_each(|item| timers.push(f64::from(item), item));
        settle_all(&mut timers);
        timers.push(0.5, 1000);
        timers.note_cancelled();
        assert_eq!((timers.len(), timers.cancelled()), (101, 1));
        let mut settled = Vec::new();
        timers.push(0.25, 1001);
        let removed = timers.settle(|item| *item == 1000, |item| settled.push(*item));
        assert_eq!((removed, settled), (vec![1000], vec![1001]));
        assert_eq!((timers.len(), timers.cancelled()), (101, 0));
    }

    #[test]
    fn a_cancelled_timer_is_kept_where_there_are_few() {
        let mut timers = Timers::new();
        timers.push(1.0, ());
        timers.note_cancelled();
        assert_eq!(timers.settle(|()| true, |()| ()), []);
        assert_eq!((timers.len(), timers.cancelled()), (1, 1));
    }

    #[test]
    fn the_run_and_the_heap_are_popped_as_one_queue() {
        let mut timers = Timers::new();
        for deadline in [9.0, 1.0, 2.0, 0.0, 2.0, 7.0, 3.0] {
            timers.push(deadline, deadline);
            settle_all(&mut timers);
        }
        assert!(timers.run.len() > 1 && timers.heap.len() > 1);
        let popped: Vec<_> = std::iter::from_fn(|| timers.pop()).collect();
        assert_eq!(popped, [0.0, 1.0, 2.0, 2.0, 3.0, 7.0, 9.0]);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut timers = Timers::new();
        (0..4 * KEPT).for_each(|item| timers.push(0.0, item));
        settle_all(&mut timers);
        assert_eq!(timers.fresh.capacity(), 0);
        while timers.pop().is_some() {}
        assert_eq!(timers.run.capacity(), 0);
    }
}
