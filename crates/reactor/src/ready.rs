//! The queue of what runs next.

use std::collections::VecDeque;

/// Up to this many entries of memory are kept for ever: a busy loop reaches them again and again.
const KEPT: usize = 64 * 1024;
/// Beyond that, memory is given back when less than one in this many places is in use.
const MOSTLY_EMPTY: usize = 16;

/// First in, first out. Memory taken by a burst is given back after it.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    items: VecDeque<T>,
}

impl<T> ReadyQueue<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            items: VecDeque::new(),
        }
    }

    /// Add `item` at the end.
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// Put `item` before all others: it was taken out and could not run.
    pub fn push_front(&mut self, item: T) {
        self.items.push_front(item);
    }

    /// Take out the first.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front();
        let capacity = self.items.capacity();
        if capacity > KEPT && self.items.len() < capacity / MOSTLY_EMPTY {
            self.shrink();
        }
        item
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Take out everything, for the caller to drop.
    pub fn clear(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.items)
    }

    /// The items from the first to the last.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.items.iter()
    }

    /// Twice what is left, so that the next pushes do not grow it again at once.
    #[cold]
    fn shrink(&mut self) {
        self.items.shrink_to(2 * self.items.len());
    }
}

impl<T> Default for ReadyQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_is_first_out_and_the_front_goes_first() {
        let mut queue = ReadyQueue::new();
        queue.push(2);
        queue.push(3);
        queue.push_front(1);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [1, 2, 3]);
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(popped, [1, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn clearing_hands_the_items_back() {
        let mut queue = ReadyQueue::new();
        queue.push('a');
        queue.push('b');
        assert_eq!(queue.clear(), ['a', 'b']);
        assert_eq!((queue.len(), queue.pop()), (0, None));
    }

    #[test]
    fn memory_of_a_burst_is_given_back_and_nothing_is_lost() {
        let mut queue = ReadyQueue::new();
        let burst = 8 * KEPT;
        (0..burst).for_each(|item| queue.push(item));
        assert!(queue.items.capacity() >= burst);
        for item in 0..burst {
            assert_eq!(queue.pop(), Some(item));
        }
        assert!(queue.items.capacity() <= KEPT);
    }

    #[test]
    fn memory_of_ordinary_load_is_kept() {
        let mut queue = ReadyQueue::new();
        (0..KEPT / 2).for_each(|item| queue.push(item));
        let capacity = queue.items.capacity();
        while queue.pop().is_some() {}
        assert_eq!(queue.items.capacity(), capacity);
    }
}
