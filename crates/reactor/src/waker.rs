//! Waking a loop that blocks in its poller, from another thread or from a signal handler.
//!
//! An eventfd(2), registered with the poller for reading, and the protocol of [`SleepState`]. In order:
//!
//! - the loop: [`Waker::prepare_sleep`], look at the inbox once more, wait, [`Waker::awake`], and if the eventfd was
//!   reported readable, [`Waker::drain`];
//! - a poster: push, then [`Waker::wake`].
//!
//! A wake-up may come late (the poster was chosen during one sleep and writes during the next): the loop then finds an
//! empty inbox, and nothing else happens.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use crate::SleepState;
use crate::faults::{self, Call};

/// Wakes one loop. Shared by all threads.
#[derive(Debug)]
pub struct Waker {
    eventfd: OwnedFd,
    sleep: SleepState,
}

impl Waker {
    /// A waker whose loop is awake. The eventfd is non-blocking and closed on exec.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: eventfd(2).
    pub fn new() -> io::Result<Self> {
        faults::check(Call::Eventfd)?;
        Ok(Self {
            eventfd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            sleep: SleepState::new(),
        })
    }

    /// The number to register with the poller for reading.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// Wake the loop if it sleeps or is about to, and nobody has done so in this sleep. To be called after the post.
    /// Returns whether it took the system call. Safe in a signal handler.
    ///
    /// # Errors
    /// Those of write(2), which an open eventfd does not produce.
    pub fn wake(&self) -> io::Result<bool> {
        if !self.sleep.notify() {
            return Ok(false);
        }
        self.write()?;
        Ok(true)
    }

    /// Make the eventfd readable in any case, whether or not the loop sleeps. Safe in a signal handler.
    pub fn force_wake(&self) {
        // An open eventfd has no way to fail but the full counter, which `write` answers.
        let _ = self.write();
    }

    /// The loop announces that it is about to block. It must look at its inbox once more after this.
    pub fn prepare_sleep(&self) {
        self.sleep.prepare_sleep();
    }

    /// The loop will not block after all, or has returned from blocking.
    pub fn awake(&self) {
        self.sleep.awake();
    }

    /// Reset the eventfd after it was reported readable.
    pub fn drain(&self) {
        // One read takes the whole counter. If there was nothing (EAGAIN), nothing is to be reset.
        let mut counter = [0; 8];
        while read(&self.eventfd, &mut counter) == Err(Errno::INTR) {}
    }

    fn write(&self) -> io::Result<()> {
        loop {
            match write(&self.eventfd, &1_u64.to_ne_bytes()) {
                // A full counter is readable, which is all that is wanted.
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Events, Inbox, Interest, Poller, Token};

    fn polled(waker: &Waker) -> (Poller, Events) {
        let poller = Poller::new().unwrap();
        let token = Token::new(waker.raw_fd(), 0);
        poller.add(waker.raw_fd(), token, Interest::READ).unwrap();
        (poller, Events::with_capacity(4))
    }

    #[test]
    fn a_loop_that_is_awake_is_not_written_to() {
        let waker = Waker::new().unwrap();
        let (poller, mut events) = polled(&waker);
        assert!(!waker.wake().unwrap());
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_sleep_takes_one_write_and_draining_resets_it() {
        let waker = Waker::new().unwrap();
        let (poller, mut events) = polled(&waker);
        waker.prepare_sleep();
        assert!(waker.wake().unwrap());
        assert!(!waker.wake().unwrap());
        assert_eq!(poller.wait(&mut events, None).unwrap(), 1);
        waker.awake();
        waker.drain();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_forced_wake_reaches_a_loop_that_is_awake() {
        let waker = Waker::new().unwrap();
        let (poller, mut events) = polled(&waker);
        waker.force_wake();
        assert_eq!(poller.wait(&mut events, None).unwrap(), 1);
    }

    #[test]
    fn draining_without_a_wake_does_not_block() {
        Waker::new().unwrap().drain();
    }

    #[test]
    fn a_full_counter_counts_as_woken() {
        let waker = Waker::new().unwrap();
        write(&waker.eventfd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.prepare_sleep();
        assert!(waker.wake().unwrap());
    }

    #[test]
    fn posts_from_another_thread_wake_a_blocking_loop() {
        const POSTS: usize = 2_000;
        let waker = Waker::new().unwrap();
        let inbox = Inbox::new();
        let (poller, mut events) = polled(&waker);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for post in 0..POSTS {
                    inbox.push(post);
                    waker.wake().unwrap();
                }
            });
            let mut next = 0;
            while next < POSTS {
                waker.prepare_sleep();
                if inbox.is_empty() && poller.wait(&mut events, None).unwrap() > 0 {
                    waker.drain();
                }
                waker.awake();
                for post in inbox.drain() {
                    assert_eq!(post, next);
                    next += 1;
                }
            }
        });
    }
}
