//! Split writes: the pieces of one answer leave in one system call.
//!
//! Many protocols write an answer in pieces out of one callback, a head and then a body. Sent one by one, as
//! asyncio does, each costs a system call and a segment. A stream learns the habit: after two callbacks that wrote
//! at least `n` times each (n > 1), the first n - 1 writes of the next one are held, and the n-th takes them along.
//!
//! A TLS connection that is answered and closed has no time to learn. There the loop does: if the connection closed last
//! was closed by the callback that wrote to it, the next one's records wait for close_notify.
//!
//! What is held counts as sent. Whoever could see that it is not sends it: every method and attribute that tells of
//! the queue, of the socket or of the connection's state. What a callback leaves held is sent when it ends
//! ([`crate::event_loop`]'s turn), in the context of the write. So only two things differ from a send at once:
//! a peer that is asked by blocking the loop's thread in the middle of such a callback has not got the bytes yet,
//! and an error or a full socket shows some lines later, in the same callback. A socket object that the program has
//! kept is not watched: what it is used for overtakes what is held. In a forked child nothing is held any more: the
//! parent sends it. A TLS transport counts what the stream below it holds as sent, without looking.

use std::cell::Cell;

use pyo3::prelude::*;

use crate::event_loop::forks;
use crate::python::call;
use crate::transports::flow::Controlled;

use super::Stream;
use super::write::Piece;

/// The most that is held, in bytes; beyond it a system call of its own weighs little.
const MOST: usize = 16 * 1024;

/// How often a stream writes in one callback.
#[derive(Default)]
pub(super) struct Burst {
    /// The callback that wrote last.
    turn: Cell<u32>,
    /// How often it has written.
    writes: Cell<u8>,
    /// How often the one before it wrote.
    before: Cell<u8>,
    /// How many writes are expected of it.
    expected: Cell<u8>,
    /// Whether what is in the queue is held, and not waiting for room.
    held: Cell<bool>,
    /// In which process: [`forks`] at that time.
    forks: Cell<u32>,
}

impl Burst {
    /// Counts a write in a turn, and returns whether more are expected to follow.
    #[inline]
    fn count(&self, turn: u32) -> bool {
        if self.turn.replace(turn) == turn {
            self.writes.set(self.writes.get().saturating_add(1));
        } else {
            let last = self.writes.replace(1);
            self.expected.set(last.min(self.before.replace(last)));
        }
        self.writes.get() < self.expected.get()
    }
}

impl Stream {
    /// Whether the queue is held, and not waiting for room.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.burst.held.get() && self.is_held_here()
    }

    /// A forked child drops what its parent will send.
    #[cold]
    fn is_held_here(&self) -> bool {
        let here = self.burst.forks.get() == forks();
        if !here {
            self.burst.held.set(false);
            let dropped = self.queue.borrow_mut().clear();
            drop(dropped);
        }
        here
    }

    /// Counts a write, and returns whether it may be held: `more` says that another is expected anyway.
    #[inline]
    pub(super) fn may_hold(&self, py: Python<'_>, size: usize, more: bool) -> bool {
        let Some(this) = self.event_loop(py) else {
            return false;
        };
        let Some(turn) = this.get().turn.number() else {
            return false;
        };
        (self.burst.count(turn) || more) && self.queue.borrow().len() + size <= MOST
    }

    /// Holds the first write of a burst until the next one or the end of the callback. The queue is empty.
    pub(super) fn hold(&self, transport: &Bound<'_, PyAny>, piece: Piece) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        // The context in which the write would have told the protocol to pause.
        let context = call::copy_context(py)?;
        this.get().turn.hold(transport.into());
        self.burst.held.set(true);
        self.burst.forks.set(forks());
        self.queue.borrow_mut().push(piece);
        // Last: whatever dies with the old one may write again.
        drop(self.held_context.replace(Some(context)));
        Ok(())
    }

    /// Sends what is held; returns whether something waits for room now.
    pub(super) fn send_held(&self, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.burst.held.set(false);
        self.send_queue(transport)
    }

    /// Sends what is held, because somebody looks.
    #[inline]
    pub(super) fn settle(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.is_held() && self.send_held(transport)? {
            return self.maybe_pause_protocol(transport);
        }
        Ok(())
    }

    /// Sends what is held, as far as the kernel takes it, when the connection ends anyway.
    pub(super) fn send_held_blindly(&self) {
        if self.is_held()
            && let Some(fd) = self.fd()
        {
            self.burst.held.set(false);
            let _ = self.queue.borrow_mut().flush(fd);
        }
    }

    /// The callback that wrote has ended.
    pub(crate) fn end_of_turn(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let context = self.held_context.take();
        let Some(context) = context.filter(|_| self.is_held()) else {
            return Ok(());
        };
        match call::within_context(py, &context, || self.settle(transport)) {
            // It was reported when the connection was given up.
            Err(error) if self.lost.get() > 0 && !call::ends_the_loop(py, &error) => Ok(()),
            result => result,
        }
    }
}
