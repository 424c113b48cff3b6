//! The turn of one callback: what a transport leaves to be done when the callback ends.
//!
//! A transport may keep a small write back for as long as the callback that made it runs, so that it leaves
//! together with the next (`transports/stream/burst.rs`). The loop promises to call it at the end of the turn:
//! however the callback ends, before anything else runs, and before the loop waits, even if the callback runs it
//! again. In a forked child that comes back to the loop nothing is sent: the parent does that.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use crate::python::{Ref, call};
use crate::transports::stream::Stream;

use super::{FORKS, Loop};

/// Whose turn it is.
#[derive(Default)]
pub(crate) struct Turn {
    /// Counts the turns; it wraps around.
    number: Cell<u32>,
    /// Whether a callback runs. False while the loop waits, also inside a callback that runs it again.
    open: Cell<bool>,
    /// Whether `held` has something in it.
    holds: Cell<bool>,
    /// The transports that are to be called at the end of the turn.
    held: RefCell<Vec<Ref>>,
    /// What [`FORKS`] was when the first of them came.
    forks: Cell<u32>,
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
        if !self.holds.replace(true) {
            self.forks.set(FORKS.load(Ordering::Relaxed));
        }
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

    /// No callback runs from here on; returns whether one did.
    pub(super) fn suspend(&self) -> bool {
        self.open.replace(false)
    }

    /// The callback that ran the loop goes on.
    pub(super) fn resume(&self, open: bool) {
        self.open.set(open);
    }
}

impl Loop {
    /// Calls whoever waits for the end of the turn.
    #[cold]
    pub(super) fn end_turn(&self, py: Python<'_>) -> PyResult<()> {
        let mut result = self.leave_task(py);
        let may_send = self.turn.forks.get() == FORKS.load(Ordering::Relaxed);
        self.turn.holds.set(false);
        let mut held = std::mem::take(&mut *self.turn.held.borrow_mut());
        for transport in held.drain(..) {
            let transport = transport.into_bound(py);
            match Stream::of(&transport).end_of_turn(&transport, may_send) {
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
