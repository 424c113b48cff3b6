//! What transports tell besides data: faults to the loop's exception handler, lines to asyncio's log, `pause_writing` and
//! `resume_writing` to their protocols, and the warning of one that nobody closed.

use std::cell::Cell;
use std::os::fd::RawFd;

use hotloop_reactor::Direction;
use pyo3::exceptions::PyOSError;
use pyo3::exceptions::PyResourceWarning;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::event_loop::Loop;
use crate::imports::imports;
use crate::python::{Ref, call, make};

/// Whom a report names.
pub(super) struct Named<'a, 'py> {
    pub(super) transport: Option<&'a Bound<'py, PyAny>>,
    pub(super) protocol: Option<&'a Bound<'py, PyAny>>,
}

impl Named<'_, '_> {
    /// `loop.call_exception_handler()` with asyncio's context of a transport's fault.
    pub(super) fn report(
        &self,
        this: &Bound<'_, Loop>,
        message: &str,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let context = make::dict(py)?;
        context.set_item(intern!(py, "message"), make::string(py, message)?)?;
        context.set_item(intern!(py, "exception"), exception)?;
        context.set_item(intern!(py, "transport"), self.transport)?;
        context.set_item(intern!(py, "protocol"), self.protocol)?;
        this.call_method1(intern!(py, "call_exception_handler"), (context,))
            .map(drop)
    }

    /// Calls `pause_writing()` or `resume_writing()` of `protocol`. What it raises is reported, except what ends the loop,
    /// and everything if there is no loop any more.
    pub(super) fn tell(
        &self,
        this: Option<Bound<'_, Loop>>,
        protocol: &Ref,
        method: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        let py = method.py();
        let error = match call::call_method0(protocol, method) {
            Ok(_) => return Ok(()),
            Err(error) if call::ends_the_loop(py, &error) => return Err(error),
            Err(error) => error,
        };
        let Some(this) = this else {
            return Err(error);
        };
        let exception = error.into_value(py).into_bound(py);
        let message = format!("protocol.{method}() failed");
        self.report(&this, &message, exception.as_any())
    }
}

/// What is said of an error after which a transport is useless. Those of the operating system are the peer's or the
/// network's and only logged in debug mode; others are reported.
pub(super) fn tell_of_fatal(
    this: &Bound<'_, Loop>,
    transport: &Bound<'_, PyAny>,
    protocol: Option<&Bound<'_, PyAny>>,
    message: &str,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if exception.is_instance_of::<PyOSError>() {
        return log_error(this, transport, message, exception);
    }
    let named = Named {
        transport: Some(transport),
        protocol,
    };
    named.report(this, message, exception)
}

/// `protocol.connection_lost(error)`, where there is a protocol that was told of the connection.
pub(super) fn tell_of_loss(
    py: Python<'_>,
    protocol: Option<Ref>,
    error: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let Some(protocol) = protocol else {
        return Ok(());
    };
    let error = error.cloned().unwrap_or_else(|| py.None().into_bound(py));
    call::call_method1(&protocol, intern!(py, "connection_lost"), &error.into()).map(drop)
}

/// In debug mode, logs an error that is nobody's fault, with its traceback.
pub(super) fn log_error(
    this: &Bound<'_, Loop>,
    subject: &Bound<'_, PyAny>,
    message: &str,
    exception: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if !this.get().debug.get() {
        return Ok(());
    }
    let py = this.py();
    let named = make::dict(py)?;
    named.set_item(intern!(py, "exc_info"), exception)?;
    let args = [
        intern!(py, "%r: %s").clone().into_any(),
        subject.clone(),
        make::string(py, message)?.into_any(),
    ];
    let logger = imports(py)?.logger.bind(py);
    logger
        .call_method(intern!(py, "debug"), make::tuple(py, args)?, Some(&named))
        .map(drop)
}

/// In debug mode, logs a line about a transport; `level` names the logger's method.
pub(super) fn log_line(
    this: Option<Bound<'_, Loop>>,
    level: &Bound<'_, PyString>,
    message: &str,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = transport.py();
    match this {
        Some(this) if this.get().debug.get() => {
            let logger = imports(py)?.logger.bind(py);
            let message = make::string(py, message)?;
            logger.call_method1(level, (message, transport)).map(drop)
        }
        _ => Ok(()),
    }
}

/// The stdlib's `ResourceWarning` about a transport that is dropped without `close()`.
pub(super) fn warn_unclosed(
    transport: &Bound<'_, PyAny>,
    described: PyResult<String>,
) -> PyResult<()> {
    let py = transport.py();
    let named = make::dict(py)?;
    let text = format!("unclosed transport {}", described?);
    named.set_item(intern!(py, "source"), transport)?;
    let kind = py.get_type::<PyResourceWarning>();
    // Taken at import: at interpreter shutdown nothing can be imported.
    let warn = imports(py)?.warn.bind(py);
    let text = make::string(py, &text)?;
    warn.call((text, kind), Some(&named)).map(drop)
}

/// A write after the loss: the first few pass silently, then asyncio warns. `lost` counts them.
pub(super) fn count_lost_write(py: Python<'_>, lost: &Cell<u32>, text: &str) -> PyResult<()> {
    let imports = imports(py)?;
    if lost.get() >= imports.log_threshold_for_lost_writes {
        let logger = imports.logger.bind(py);
        logger.call_method1(intern!(py, "warning"), (make::string(py, text)?,))?;
    }
    lost.set(lost.get().saturating_add(1));
    Ok(())
}

/// `repr()` of a socket's transport; `waiting` is the size of its queue in bytes.
pub(super) fn describe_socket(
    transport: &Bound<'_, PyAny>,
    closed: bool,
    closing: bool,
    fd: RawFd,
    this: Option<Bound<'_, Loop>>,
    waiting: usize,
) -> PyResult<String> {
    let name = transport.get_type().name()?;
    let state = match (closed, closing) {
        (true, _) => " closed",
        (false, true) => " closing",
        (false, false) => "",
    };
    let mut text = format!("<{name}{state} fd={fd}");
    if let Some(this) = this.filter(|this| !this.get().closed.get()) {
        let (read, write) = (
            polling(&this, fd, Direction::Read),
            polling(&this, fd, Direction::Write),
        );
        text.push_str(&format!(" read={read} write=<{write}, bufsize={waiting}>"));
    }
    text.push('>');
    Ok(text)
}

/// Whether the loop waits for a descriptor in this direction, in the words of `repr`.
pub(super) fn polling(this: &Bound<'_, Loop>, fd: RawFd, direction: Direction) -> &'static str {
    let interest = this.get().registry.borrow().interest(fd);
    if interest.contains(direction) {
        "polling"
    } else {
        "idle"
    }
}
