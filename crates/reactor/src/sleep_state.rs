//! Whether the loop sleeps, and who wakes it: the protocol without the descriptor, so that it can be model-checked.
//!
//! The bad case: the loop looks into its inbox, finds nothing, and blocks; between the look and the block another
//! thread posts, sees the loop awake, and does not wake it. The post then lies there until something else happens. So
//! the loop first announces that it will sleep and then looks again, while the poster first posts and then looks at the
//! announcement. Each side writes one place and reads the other; a sequentially consistent fence between the two on
//! both sides makes sure that at least one of them sees the other (without it, both may read the old value).
//!
//! The second state beyond "sleeping" makes the first poster the only one who pays for a system call.

use crate::sync::{AtomicU8, Ordering, fence};

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// The loop's announcement to posters. Safe to use from any thread and from a signal handler.
#[derive(Debug)]
pub struct SleepState {
    state: AtomicU8,
}

impl SleepState {
    /// The state of a loop that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(AWAKE),
        }
    }

    /// Loop: announce that it is about to block. It must look at every source of posts once more after this.
    pub fn prepare_sleep(&self) {
        self.state.store(SLEEPING, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Loop: it will not block now, or has just returned from blocking.
    pub fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Poster, after the post: whether this caller has to wake the loop. True at most once per sleep.
    pub fn notify(&self) -> bool {
        fence(Ordering::SeqCst);
        // The load spares a loop that is awake the exchange, which would take the cache line from it.
        self.state.load(Ordering::Relaxed) == SLEEPING
            && self
                .state
                .compare_exchange(SLEEPING, NOTIFIED, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Default for SleepState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_poster_of_a_sleep_has_to_wake() {
        let state = SleepState::new();
        assert!(!state.notify(), "awake");
        state.prepare_sleep();
        assert!(state.notify());
        assert!(!state.notify(), "woken already");
        state.awake();
        assert!(!state.notify(), "awake again");
        state.prepare_sleep();
        assert!(state.notify(), "the next sleep is a new one");
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod loom_tests {
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;
    use crate::Inbox;

    /// The loop, its inbox, and a descriptor to sleep on: a counter that blocks the reader while it is zero.
    struct Model {
        inbox: Inbox<u8>,
        sleep: SleepState,
        eventfd: Mutex<usize>,
        written: Condvar,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                inbox: Inbox::new(),
                sleep: SleepState::new(),
                eventfd: Mutex::new(0),
                written: Condvar::new(),
            })
        }

        /// Returns how many writes it took.
        fn post(&self, item: u8) -> usize {
            self.inbox.push(item);
            if !self.sleep.notify() {
                return 0;
            }
            *self.eventfd.lock().unwrap() += 1;
            self.written.notify_one();
            1
        }

        /// Run until `expected` posts arrived; returns how often it announced a sleep. If a post were missed, this
        /// would block for ever, which loom reports as a deadlock.
        fn run(&self, expected: usize) -> usize {
            let (mut arrived, mut sleeps) = (0, 0);
            loop {
                arrived += self.inbox.drain().count();
                if arrived == expected {
                    return sleeps;
                }
                sleeps += 1;
                self.sleep.prepare_sleep();
                if self.inbox.is_empty() {
                    let mut counter = self.eventfd.lock().unwrap();
                    while *counter == 0 {
                        counter = self.written.wait(counter).unwrap();
                    }
                    *counter = 0;
                }
                self.sleep.awake();
            }
        }
    }

    /// Explore every interleaving with at most `preemptions` involuntary switches of thread; without a bound the search
    /// takes most of a minute and finds nothing more.
    fn check(posters: &'static [&'static [u8]], preemptions: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(move || {
            let model = Model::new();
            let expected = posters.iter().map(|items| items.len()).sum();
            let posters: Vec<_> = posters
                .iter()
                .map(|items| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || items.iter().map(|item| model.post(*item)).sum::<usize>())
                })
                .collect();
            let sleeps = model.run(expected);
            let writes: usize = posters
                .into_iter()
                .map(|poster| poster.join().unwrap())
                .sum();
            assert!(writes <= sleeps, "{writes} writes for {sleeps} sleeps");
        });
    }

    #[test]
    fn loom_no_post_of_one_thread_is_missed() {
        check(&[&[1, 2]], 4);
    }

    #[test]
    fn loom_no_post_of_two_threads_is_missed() {
        check(&[&[1], &[2]], 3);
    }
}
