//! The turn of one callback: what a transport leaves to be done when the callback ends.
//!
//! A transport may keep a small write back for as long as the callback that made it runs, so that it leaves
//! together with the next (`transports/stream/burst.rs`). The loop promises to call it at the end of the turn:
//! however the callback ends, before anything else runs, and before the loop waits, even if the callback runs it
//! again.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;

use crate::python::{Ref, call};
use crate::transports::stream::Stream;

use super::Loop;

/// Whose turn it is.
#[derive(Default)]
pub(crate) struct Turn {
    /// Counts the turns; it wraps around.
    number: Cell<u32>,
    /// Whether a callback runs. False while the loop waits, also inside a callback that runs it again.
    open: Cell<bool>,
    /// Whether `held` has something in it. `held` would say so itself, but for a borrow after each callback: 5 instructions
    /// of the 1667 of a `call_soon`, 19 of the 5240 of a `sleep(0)`.
    holds: Cell<bool>,
    /// The transports that are to be called at the end of the turn.
    held: RefCell<Vec<Ref>>,
    /// Whether the TLS connection that was closed last had been written to by the same callback: then the next one
    /// waits with what it writes, so that close_notify leaves together with the answer.
    pub(crate) answers_and_closes: Cell<bool>,
}

impl Turn {
    /// The number of the callback that runs, if one does.
    #[inline]
    pub(crate) fn number(&self) -> Option<u32> {
        self.open.get().then(|| self.number.get())
    }

    /// Calls `transport` when the turn ends. Only while a callback runs.
    pub(crate) fn hold(&self, transport: Ref) {
        debug_assert!(self.open.get(), "nobody would call the transport");
        self.holds.set(true);
        self.held.borrow_mut().push(transport);
    }

    /// A callback begins.
    #[inline]
    pub(super) fn begin(&self) {
        self.number.set(self.number.get().wrapping_add(1));
        self.open.set(true);
    }

    /// Whether somebody is to be called.
    #[inline]
    pub(super) fn holds(&self) -> bool {
        self.holds.get()
    }

    /// No callback runs until the next one begins, or until this is dropped: then the one that ran the loop goes on.
    pub(super) fn suspend(&self) -> Suspended<'_> {
        Suspended {
            turn: self,
            outer: self.open.replace(false),
        }
    }

    /// The last callback of an iteration has ended.
    pub(super) fn end(&self) {
        self.open.set(false);
    }
}

/// The turn of a callback that has run the loop again.
pub(super) struct Suspended<'a> {
    turn: &'a Turn,
    outer: bool,
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.turn.open.set(self.outer);
    }
}

impl Loop {
    /// Calls whoever waits for the end of the turn.
    #[cold]
    pub(super) fn end_turn(&self, py: Python<'_>) -> PyResult<()> {
        // What is written from here on, in `pause_writing()` say, is sent at once: nobody would call again.
        self.turn.end();
        let mut result = self.leave_task(py);
        self.turn.holds.set(false);
        let mut held = std::mem::take(&mut *self.turn.held.borrow_mut());
        for transport in held.drain(..) {
            let transport = transport.into_bound(py);
            match Stream::of(&transport).end_of_turn(&transport) {
                Err(error) if call::ends_the_loop(py, &error) => result = result.and(Err(error)),
                Err(error) => error.write_unraisable(py, Some(&transport)),
                Ok(()) => {}
            }
        }
        if let Ok(mut list) = self.turn.held.try_borrow_mut()
            && list.is_empty()
        {
            *list = held; // its memory serves the next turn
        }
        result
    }
}
