//! What other threads hand to the loop: a lock-free queue with many producers and one consumer.
//!
//! Producers push onto a linked stack; the consumer takes the whole stack with one exchange and turns it round. So a
//! push is one allocation and one compare-exchange however many threads push, a drain is one exchange however much
//! was pushed, and "is there anything" is one load.
//!
//! Rules, cited by each `SAFETY` comment:
//!
//! 1. Every node is made by `Box::into_raw` in `push` and turned back by `Box::from_raw` exactly once, in
//!    `Drain::next`, by whoever owns the chain it is in.
//! 2. A node not yet published by the compare-exchange in `push` belongs to the pushing thread alone.
//! 3. A published node is never looked into before its chain is taken. `head` is only replaced as a whole, so the
//!    exchange in `drain` makes the taker the sole owner of all nodes reachable from the old head. (Pushers compare
//!    `head` as an address and never follow it; that an address may come back to `head` in between does no harm, since
//!    the new node's `next` is the present head either way.)
//! 4. The compare-exchange releases and the exchange acquires, so the taker sees each node's content whole. Later
//!    pushes are read-modify-writes and continue the release sequence of the earlier ones.
//! 5. A chain ends in null, and every `next` in it is null or another node of the same chain.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// A queue into which any thread may push and which one thread empties.
///
/// The bound makes sharing sound: an item is made on one thread and dropped on another.
pub struct Inbox<T: Send> {
    head: AtomicPtr<Node<T>>,
}

impl<T: Send> Inbox<T> {
    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Add `item` behind everything that was pushed before. Lock-free; safe to call from any thread.
    pub fn push(&self, item: T) {
        let node = Box::into_raw(Box::new(Node {
            item,
            next: ptr::null_mut(),
        }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: rule 2.
            unsafe { (*node).next = head };
            let pushed =
                self.head
                    .compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed);
            match pushed {
                Ok(_) => return,
                Err(present) => head = present,
            }
        }
    }

    /// Whether nothing was pushed since the last drain, as far as this thread can see: one relaxed load.
    ///
    /// Before sleeping, the fence in [`SleepState::prepare_sleep`](crate::SleepState::prepare_sleep) makes it decisive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Take out everything that was pushed so far, in the order of the pushes. What is not consumed is dropped with the
    /// iterator.
    pub fn drain(&self) -> Drain<T> {
        // Spare the exchange when there is nothing: it takes the cache line from the producers. Not under loom, whose
        // search forgets this load once a producer loads the same place, and then skips the interleavings that matter.
        if !cfg!(loom) && self.is_empty() {
            return Drain {
                next: ptr::null_mut(),
            };
        }
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: rules 3, 4 and 5: the chain is ours, and `newest` is a node in it.
            let next = unsafe { std::mem::replace(&mut (*newest).next, oldest) };
            oldest = newest;
            newest = next;
        }
        Drain { next: oldest }
    }
}

impl<T: Send> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

impl<T: Send> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// The items of one [`Inbox::drain`], first pushed first.
pub struct Drain<T> {
    next: *mut Node<T>,
}

impl<T> Iterator for Drain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: rules 1, 3 and 5: the chain is ours alone, and this node leaves it here.
        let node = unsafe { Box::from_raw(self.next) };
        self.next = node.next;
        Some(node.item)
    }
}

impl<T> std::iter::FusedIterator for Drain<T> {}

impl<T> Drop for Drain<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<T> fmt::Debug for Drain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

struct Node<T> {
    item: T,
    next: *mut Node<T>,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn items_come_out_in_the_order_of_the_pushes() {
        let inbox = Inbox::new();
        assert!(inbox.is_empty());
        (0..5).for_each(|item| inbox.push(item));
        assert!(!inbox.is_empty());
        assert_eq!(inbox.drain().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(inbox.is_empty());
        assert_eq!(inbox.drain().next(), None);
    }

    #[test]
    fn what_is_pushed_during_a_drain_belongs_to_the_next() {
        let inbox = Inbox::new();
        inbox.push(1);
        inbox.push(2);
        let first: Vec<_> = inbox
            .drain()
            .inspect(|item| inbox.push(item * 10))
            .collect();
        assert_eq!(first, [1, 2]);
        assert_eq!(inbox.drain().collect::<Vec<_>>(), [10, 20]);
    }

    #[test]
    fn what_is_not_consumed_is_dropped() {
        let item = Arc::new(());
        let inbox = Inbox::new();
        (0..3).for_each(|_| inbox.push(Arc::clone(&item)));
        let mut drain = inbox.drain();
        drop(drain.next());
        assert_eq!(Arc::strong_count(&item), 3);
        drop(drain);
        assert_eq!(Arc::strong_count(&item), 1);
        inbox.push(Arc::clone(&item));
        drop(inbox);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack_when_dropped() {
        let inbox = Inbox::new();
        (0..1_000_000).for_each(|item| inbox.push(item));
        drop(inbox);
    }

    #[test]
    fn each_threads_items_all_arrive_in_its_order() {
        const PRODUCERS: usize = 4;
        const ITEMS: usize = 5_000;
        let inbox = Inbox::new();
        let mut next = [0; PRODUCERS];
        std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let inbox = &inbox;
                scope.spawn(move || (0..ITEMS).for_each(|item| inbox.push((producer, item))));
            }
            while next != [ITEMS; PRODUCERS] {
                for (producer, item) in inbox.drain() {
                    assert_eq!(item, next[producer]);
                    next[producer] += 1;
                }
                std::thread::yield_now();
            }
        });
        assert!(inbox.is_empty());
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_tests {
    use loom::cell::Cell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// An item whose content loom watches: reading it without having synchronised with its writer is reported.
    fn item(value: i32) -> Cell<i32> {
        let cell = Cell::new(0);
        cell.set(value);
        cell
    }

    /// Two producers and a consumer that drains in between: nothing is lost, nothing doubled, each producer's order
    /// is kept.
    #[test]
    fn loom_every_item_arrives_once_and_in_its_producers_order() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let producers = [10, 20].map(|base| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    inbox.push(item(base));
                    inbox.push(item(base + 1));
                })
            });
            let mut seen: Vec<i32> = inbox.drain().map(|item| item.get()).collect();
            for producer in producers {
                producer.join().unwrap();
            }
            seen.extend(inbox.drain().map(|item| item.get()));
            for base in [10, 20] {
                let of_one: Vec<_> = seen
                    .iter()
                    .filter(|item| **item / 10 == base / 10)
                    .collect();
                assert_eq!(of_one, [&base, &(base + 1)]);
            }
            assert_eq!(seen.len(), 4);
        });
    }

    /// loom's `Arc` reports the item that is never dropped.
    #[test]
    fn loom_dropping_the_inbox_drops_what_a_racing_producer_pushed() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let producer = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.push(Arc::new(())))
            };
            drop(inbox.drain());
            drop(inbox);
            producer.join().unwrap();
        });
    }
}
