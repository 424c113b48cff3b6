//! The Linux backend: epoll(7), level-triggered.
//!
//! The facts it rests on:
//!
//! - `epoll_wait(2)` takes whole milliseconds. `epoll_pwait2(2)` takes nanoseconds, but only since Linux 5.11, and
//!   sandboxes with an older list of system calls refuse it with `EPERM` or kill the process, so trying it is not free.
//! - An epoll descriptor can be polled itself (epoll(7)), and `ppoll(2)` takes nanoseconds everywhere.
//!
//! A timeout is therefore split. The whole milliseconds go to `epoll_wait`, which ends nearly every wait of a busy
//! loop; only when they pass without an event does `ppoll` wait for what is left, below one millisecond. So neither
//! precision nor old kernels are given up, and the price, one more system call, is paid only when an event falls into
//! the last millisecond before a deadline.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::borrow_fd::with_registrable;
use crate::faults::{self, Call};
use crate::{Event, Interest, Token, now_nanos};

const NANOS_PER_MILLI: u64 = 1_000_000;
/// The longest timeout that `epoll_wait` takes (24 days), short of the last so that it stays a whole number of seconds.
const LONGEST: Duration = Duration::from_secs(i32::MAX as u64 / 1000);

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Selector {
    epoll: OwnedFd,
}

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        faults::check(Call::EpollCreate)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    pub(crate) fn add(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        faults::check(Call::EpollAdd)?;
        let (data, flags) = (epoll::EventData::new_u64(token.to_u64()), flags(interest));
        with_registrable(fd, |source| epoll::add(&self.epoll, source, data, flags))
    }

    pub(crate) fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        faults::check(Call::EpollModify)?;
        let (data, flags) = (epoll::EventData::new_u64(token.to_u64()), flags(interest));
        with_registrable(fd, |source| epoll::modify(&self.epoll, source, data, flags))
    }

    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        with_registrable(fd, |source| epoll::delete(&self.epoll, source))
    }

    pub(crate) fn wait(
        &self,
        events: &mut RawEvents,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let Some(timeout) = timeout else {
            return self.collect(events, None);
        };
        let timeout = timeout.min(LONGEST);
        let nanos = timeout.as_secs() * 1_000_000_000 + u64::from(timeout.subsec_nanos());
        let millis = nanos / NANOS_PER_MILLI;
        if nanos.is_multiple_of(NANOS_PER_MILLI) {
            return self.collect(events, Some(millis));
        }
        let mut left = nanos;
        if millis > 0 {
            let deadline = now_nanos() + nanos;
            let count = self.collect(events, Some(millis))?;
            left = deadline.saturating_sub(now_nanos());
            if count > 0 || left == 0 {
                return Ok(count);
            }
        }
        if self.poll_self(left)? {
            self.collect(events, Some(0))
        } else {
            Ok(0)
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// `epoll_wait` for whole milliseconds.
    fn collect(&self, events: &mut RawEvents, millis: Option<u64>) -> io::Result<usize> {
        faults::check(Call::EpollWait)?;
        let timeout = millis.map(|millis| timespec(millis * NANOS_PER_MILLI));
        let room = spare_capacity(&mut events.buffer);
        Ok(epoll::wait(&self.epoll, room, timeout.as_ref())?)
    }

    /// Wait until the set has something to report; false when `nanos` passed first.
    fn poll_self(&self, nanos: u64) -> io::Result<bool> {
        faults::check(Call::Poll)?;
        let mut this = [PollFd::from_borrowed_fd(self.epoll.as_fd(), PollFlags::IN)];
        Ok(poll(&mut this, Some(&timespec(nanos)))? > 0)
    }
}

/// The entries that the kernel filled in.
pub(crate) struct RawEvents {
    buffer: Vec<epoll::Event>,
}

impl RawEvents {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    pub(crate) fn grow(&mut self, capacity: usize) {
        self.buffer
            .reserve_exact(capacity.saturating_sub(self.buffer.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
    }

    pub(crate) fn get(&self, index: usize) -> Option<Event> {
        // The kernel's struct is packed: copy the fields out before looking at them.
        let epoll::Event { flags, data, .. } = *self.buffer.get(index)?;
        Some(Event {
            token: Token::from_u64(data.u64()),
            readable: flags.intersects(epoll::EventFlags::OUT.complement()),
            writable: flags.intersects(epoll::EventFlags::IN.complement()),
        })
    }
}

impl std::fmt::Debug for RawEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let events = (0..self.len()).filter_map(|index| self.get(index));
        f.debug_list().entries(events).finish()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(
        epoll::EventFlags::IN,
        interest.contains(crate::Direction::Read),
    );
    flags.set(
        epoll::EventFlags::OUT,
        interest.contains(crate::Direction::Write),
    );
    flags.set(epoll::EventFlags::ONESHOT, interest.is_once());
    flags
}

/// `nanos` is at most [`LONGEST`], so both fields fit.
fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    }
}
