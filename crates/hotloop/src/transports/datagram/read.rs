//! Receiving: one `recvmmsg` for each time the descriptor is ready, and the protocol's methods that get the datagrams.

use std::collections::VecDeque;
use std::io;

use hotloop_reactor::{Direction, ReceiveBatch};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::os_error;
use crate::event_loop::Loop;
use crate::python::{Ref, call};

use super::Datagram;
use crate::python::make;

/// A datagram as the protocol gets it.
pub(super) struct Received {
    pub(super) data: Ref,
    pub(super) sender: Ref,
}

/// What happens to the rest of a batch.
enum Rest {
    Deliver,
    /// Reading is paused: `resume_reading` sees to it.
    Keep,
    /// The loop stops: a later run delivers it.
    Later,
    /// The transport is closed.
    Drop,
}

impl Datagram {
    /// The descriptor can be read.
    pub(super) fn read_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.lost.get() > 0 {
            return Ok(());
        }
        if !self.rest.borrow().is_empty() {
            return self.deliver_rest(transport);
        }
        let py = transport.py();
        let (Some(this), Some(fd)) = (self.event_loop(py), self.fd()) else {
            return Ok(());
        };
        let shared = &this.get().datagrams;
        let mut batch = shared.take_batch();
        let stopping = this.get().stopping.get();
        let asked = if stopping { 1 } else { self.batch_size.get() };
        let result = match batch.receive(fd, self.is_ip(), asked, self.max_size.get()) {
            Ok(received) => {
                if !stopping {
                    self.adapt(asked, received);
                }
                self.deliver(&this, transport, &mut batch)
            }
            Err(error) => self.receive_failed(transport, &error),
        };
        shared.return_batch(batch);
        result
    }

    /// Asks for twice as many after a full batch, for half as many after one that was half empty: each message that
    /// was asked for in vain costs a look at the socket.
    fn adapt(&self, asked: usize, received: usize) {
        if received >= asked {
            let most = ReceiveBatch::capacity(self.is_ip());
            self.batch_size.set((asked * 2).min(most));
        } else if received * 2 <= asked {
            self.batch_size.set(asked / 2);
        }
    }

    fn receive_failed(&self, transport: &Bound<'_, PyAny>, error: &io::Error) -> PyResult<()> {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Ok(());
        }
        self.error_received(transport, os_error(transport.py(), error))
    }

    /// `protocol.error_received(error)`; what that raises is the caller's.
    pub(super) fn error_received(
        &self,
        transport: &Bound<'_, PyAny>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = transport.py();
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        let error = Ref::from(error.into_value(py).into_bound(py));
        call::call_method1(&protocol, intern!(py, "error_received"), &error).map(drop)
    }

    fn deliver(
        &self,
        this: &Bound<'_, Loop>,
        transport: &Bound<'_, PyAny>,
        batch: &mut ReceiveBatch,
    ) -> PyResult<()> {
        let py = transport.py();
        while let Some(received) = take(this, py, batch)? {
            let result = self.datagram_received(py, &received);
            drop(received);
            if batch.remaining() == 0 {
                return result;
            }
            let rest = match result {
                Ok(()) => self.rest_of_batch(this),
                Err(_) if self.closing.get() => Rest::Drop,
                Err(_) => Rest::Later,
            };
            match rest {
                Rest::Deliver => continue,
                Rest::Drop => return result,
                Rest::Keep | Rest::Later => {}
            }
            let mut kept = VecDeque::with_capacity(batch.remaining());
            while let Some(received) = take(this, py, batch)? {
                kept.push_back(received);
            }
            self.rest.borrow_mut().append(&mut kept);
            if matches!(rest, Rest::Later) {
                self.schedule_rest(this, transport)?;
            }
            return result;
        }
        Ok(())
    }

    /// What was received before reading was paused, or before the loop stopped.
    pub(super) fn deliver_rest(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let Some(this) = self.event_loop(py) else {
            return Ok(());
        };
        if self.closing.get() || self.reading_paused.get() {
            return Ok(());
        }
        loop {
            let Some(received) = self.rest.borrow_mut().pop_front() else {
                return Ok(());
            };
            let result = self.datagram_received(py, &received);
            drop(received);
            if self.rest.borrow().is_empty() {
                return result;
            }
            match (&result, self.rest_of_batch(&this)) {
                (Ok(()), Rest::Deliver) => {}
                (_, Rest::Keep | Rest::Drop) => return result, // `close` has dropped it
                (_, Rest::Later | Rest::Deliver) => {
                    self.schedule_rest(&this, transport)?;
                    return result;
                }
            }
        }
    }

    fn rest_of_batch(&self, this: &Bound<'_, Loop>) -> Rest {
        if self.closing.get() {
            Rest::Drop
        } else if self.reading_paused.get() {
            Rest::Keep
        } else if this.get().stopping.get() {
            Rest::Later
        } else {
            Rest::Deliver
        }
    }

    fn schedule_rest(&self, this: &Bound<'_, Loop>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let deliver = transport.getattr(intern!(py, "_deliver_received"))?;
        Loop::call_soon_native(this, deliver.into(), PyTuple::empty(py).into())
    }

    /// `transport._deliver_received()`, a callback of the loop: in the context of the reading callbacks.
    pub(super) fn deliver_received(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        match self.read_context.get(py) {
            Some(context) => call::within_context(py, &context, || self.deliver_rest(transport)),
            None => Ok(()),
        }
    }

    fn datagram_received(&self, py: Python<'_>, received: &Received) -> PyResult<()> {
        // Each time anew: the protocol may have been changed meanwhile.
        let Some(protocol) = self.protocol.get(py) else {
            return Ok(());
        };
        let name = intern!(py, "datagram_received");
        call::call_method2(&protocol, name, &received.data, &received.sender).map(drop)
    }

    /// `transport.pause_reading()`.
    pub(super) fn pause_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closing.get() || self.reading_paused.get() {
            return Ok(());
        }
        self.reading_paused.set(true);
        self.stop_watching(transport.py(), Direction::Read)?;
        self.log_debug(transport, "%r pauses reading")
    }

    /// `transport.resume_reading()`.
    pub(super) fn resume_reading(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.closing.get() || !self.reading_paused.get() {
            return Ok(());
        }
        self.reading_paused.set(false);
        self.start_reading(transport)?;
        if !self.rest.borrow().is_empty()
            && let Some(this) = self.event_loop(transport.py())
        {
            self.schedule_rest(&this, transport)?;
        }
        self.log_debug(transport, "%r resumes reading")
    }

    /// Stops waiting for the descriptor in one direction, whatever an overridden hook raises.
    pub(super) fn stop_watching(&self, py: Python<'_>, direction: Direction) -> PyResult<()> {
        match self.event_loop(py) {
            Some(this) => this.get().unwatch_surely(&this, self.fd, direction),
            None => Ok(()),
        }
    }
}

/// The next datagram of a batch.
fn take(
    this: &Bound<'_, Loop>,
    py: Python<'_>,
    batch: &mut ReceiveBatch,
) -> PyResult<Option<Received>> {
    let Some((data, sender)) = batch.take_next() else {
        return Ok(None);
    };
    let data = make::bytes(py, data)?.into();
    let sender = this.get().datagrams.sender(py, sender)?;
    Ok(Some(Received { data, sender }))
}
