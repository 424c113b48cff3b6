//! Waiting until descriptors are ready: the loop's view of the backend in `sys`.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::{Interest, Token, sys};

/// What [`Poller::wait`] reports about one registration.
///
/// As in CPython's `selectors.EpollSelector`, whatever is not purely input wakes the writing side and whatever is not
/// purely output wakes the reading side: a hang-up or an error wakes both.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The token given at registration.
    pub token: Token,
    /// Whoever waits for reading should look.
    pub readable: bool,
    /// Whoever waits for writing should look.
    pub writable: bool,
}

/// A set of registered descriptors that can be waited on, level-triggered: readiness is reported again in each wait
/// until it is used up. All methods take `&self`; the kernel does the locking.
#[derive(Debug)]
pub struct Poller {
    selector: sys::Selector,
}

impl Poller {
    /// An empty set, closed on exec.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`: epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            selector: sys::Selector::new()?,
        })
    }

    /// Wait until something is ready or `timeout` has passed (`None`: for ever), replace the content of `events`, and
    /// return how many there are. Never returns early without an event, except that a `timeout` above 24 days may be
    /// cut to that.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] when a signal handler ran: the caller must look at its signals first.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        events.inner.clear();
        let count = self.selector.wait(&mut events.inner, timeout)?;
        if count == events.inner.capacity() && count < Events::MOST {
            // More may be waiting: make room for the next call. Level-triggering reports the rest again.
            events.inner.grow((count * 2).min(Events::MOST));
        }
        Ok(count)
    }

    /// Register `fd`. Its events carry `token`.
    ///
    /// # Errors
    /// epoll_ctl(2): `EBADF` (also for a negative number), `EEXIST` if it is registered, `EPERM` if it cannot be
    /// polled (a regular file or directory), `ENOSPC`, `ENOMEM`.
    pub fn add(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.selector.add(fd, token, interest)
    }

    /// Change token and interest of a registered `fd`.
    ///
    /// # Errors
    /// epoll_ctl(2): `EBADF`, `ENOENT` if what the number stands for now is not registered.
    pub fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.selector.modify(fd, token, interest)
    }

    /// Take `fd` out of the set.
    ///
    /// # Errors
    /// epoll_ctl(2): `EBADF`, `ENOENT`.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.selector.remove(fd)
    }

    /// The number of the set's own descriptor, which stays the same. It can itself be polled.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.selector.raw_fd()
    }
}

/// A reusable buffer for the events of one wait. It doubles, up to 4096 entries, when a wait has filled it.
#[derive(Debug)]
pub struct Events {
    inner: sys::RawEvents,
}

impl Events {
    const MOST: usize = 4096;

    /// A buffer for `capacity` events (at least one, at most 4096 are reported by one wait).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            inner: sys::RawEvents::with_capacity(capacity.clamp(1, Self::MOST)),
        }
    }

    /// The events of the last wait, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        (0..self.inner.len()).filter_map(|index| self.inner.get(index))
    }

    /// The event at `index`, for a caller that cannot keep the buffer borrowed while it acts on an event.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Event> {
        self.inner.get(index)
    }

    /// How many events the last wait reported.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether the last wait reported nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.len() == 0
    }

    /// How many events one wait can report at present.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    /// Forget the events; the memory stays.
    pub fn clear(&mut self) {
        self.inner.clear();
    }
}
