//! Children: a pidfd in the poller tells when one ends, and its exit status is fetched through the pidfd.
//!
//! Facts this rests on. pidfd_open(2), Linux 5.3: the descriptor becomes readable when the process ends; no signal
//! and no thread is needed, and nobody else's wait is disturbed. waitid(2) with `P_PIDFD`, Linux 5.4, reaps this very
//! process: should somebody else have reaped it (`waitpid(-1)`, `SIGCHLD` ignored) and its number stand for another
//! child by now, the answer is `ECHILD`, and the other one keeps its status. For the same reason signals go through
//! the descriptor, pidfd_send_signal(2).

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use hotloop_reactor::Direction;
use pyo3::exceptions::PyChildProcessError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use crate::errors::{OrRaise, os_error};
use crate::imports::imports;
use crate::python::{Ref, RefSlot, call};

use super::{Loop, Watcher};

/// What asyncio reports when nobody knows how a child ended.
const UNKNOWN_STATUS: i32 = 255;

/// A child whose end the loop waits for.
#[pyclass(frozen, module = "hotloop._core")]
pub(crate) struct Child {
    pid: i32,
    /// Empty when the child has ended, or the loop was closed before it did.
    pidfd: RefCell<Option<OwnedFd>>,
    /// The subprocess transport, likewise.
    transport: RefSlot,
    context: Ref,
}

// SAFETY: A1: the cells are touched only by the thread that holds the interpreter.
unsafe impl Sync for Child {}
// SAFETY: A1, as above.
unsafe impl Send for Child {}

#[pymethods]
impl Child {
    /// The pidfd, or -1 when the loop does not wait for the child any more.
    fn fileno(&self) -> RawFd {
        self.pidfd.borrow().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Fetch the exit status; the debug mode's reports name it.
    fn _read_ready(&self) {}

    fn __repr__(&self) -> String {
        format!("<Child pid={} pidfd={}>", self.pid, self.fileno())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.transport.traverse(&visit)?;
        self.context.traverse(&visit)
    }

    fn __clear__(&self) {
        self.let_go();
    }
}

#[pymethods]
impl Loop {
    /// Wait for the end of a child of this process; `transport._process_exited(returncode)` is called then.
    ///
    /// OSError as pidfd_open(2) says: `ENOSYS` and `EPERM` where a sandbox forbids it.
    fn _watch_child<'py>(
        slf: &Bound<'py, Self>,
        pid: i32,
        transport: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Child>> {
        let py = slf.py();
        let number = Pid::from_raw(pid).ok_or_else(|| os_error(py, &Errno::SRCH.into()))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())
            .map_err(std::io::Error::from)
            .or_raise(py)?;
        let fd = pidfd.as_raw_fd();
        let child = Bound::new(
            py,
            Child {
                pid,
                pidfd: RefCell::new(Some(pidfd)),
                transport: RefSlot::new(Some(transport.into())),
                context: call::copy_context(py)?,
            },
        )?;
        let watcher = Watcher::Child((&child).into());
        slf.get().watch(slf, fd, Direction::Read, watcher)?;
        Ok(child)
    }
}

impl Child {
    /// The pidfd is readable.
    pub(super) fn ended(
        this: &Bound<'_, Loop>,
        child: &Bound<'_, Self>,
        fd: RawFd,
    ) -> PyResult<()> {
        let py = this.py();
        let child = child.get();
        let waitpid = replaced_waitpid(py)?;
        let mut status = None;
        if waitpid.is_none() {
            let fetched = match child.pidfd.borrow().as_ref() {
                Some(pidfd) => waitid(
                    WaitId::PidFd(pidfd.as_fd()),
                    WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
                ),
                None => return Ok(()),
            };
            if matches!(fetched, Ok(None)) {
                return Ok(()); // not yet
            }
            status = fetched.ok().flatten();
        }
        let Some(transport) = child.transport.take() else {
            return Ok(());
        };
        // Whoever waits for the child is told even if an overridden `_remove_reader` raises.
        let unwatched = this.get().unwatch_surely(this, fd, Direction::Read);
        drop(child.pidfd.take());
        let transport = transport.into_bound(py);
        let told = call::within_context(py, &child.context, || {
            let code = match waitpid {
                Some(waitpid) => child.code_by(&waitpid)?,
                None => status.and_then(|status| return_code(&status)),
            };
            let code = match code {
                Some(code) => code,
                None => child.known_code(&transport)?,
            };
            let name = intern!(py, "_process_exited");
            transport.call_method1(name, (code,)).map(drop)
        });
        told.and(unwatched)
    }

    /// The exit status by somebody's own `os.waitpid`, with which asyncio fetches it at this moment; None if there is no
    /// such child any more.
    fn code_by(&self, waitpid: &Bound<'_, PyAny>) -> PyResult<Option<i32>> {
        let py = waitpid.py();
        match waitpid.call1((self.pid, 0)) {
            Ok(pair) => py
                .import(intern!(py, "os"))?
                .call_method1(intern!(py, "waitstatus_to_exitcode"), (pair.get_item(1)?,))?
                .extract()
                .map(Some),
            Err(error) if error.is_instance_of::<PyChildProcessError>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The loop drops its watchers: children go on without it. Whoever has a `Popen` object can still wait for its
    /// child.
    pub(super) fn let_all_go(watchers: &[Watcher]) {
        for watcher in watchers {
            if let Watcher::Child(child) = watcher {
                Python::attach(|py| {
                    if let Ok(child) = child.bind(py).cast::<Self>() {
                        child.get().let_go();
                    }
                });
            }
        }
    }

    fn let_go(&self) {
        drop((self.pidfd.take(), self.transport.take()));
    }

    /// How a child ended that somebody else has reaped: as the `Popen` object has it, if it was that.
    fn known_code(&self, transport: &Bound<'_, PyAny>) -> PyResult<i32> {
        let py = transport.py();
        let known = transport
            .getattr(intern!(py, "_proc"))?
            .getattr(intern!(py, "returncode"))?;
        if !known.is_none() {
            return known.extract();
        }
        let text = "child process pid %d exit status already read:  will report returncode 255";
        let logger = imports(py)?.logger.bind(py);
        logger.call_method1(intern!(py, "warning"), (text, self.pid))?;
        Ok(UNKNOWN_STATUS)
    }
}

/// `os.waitpid`, if it is not the interpreter's own any more.
fn replaced_waitpid(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let imports = imports(py)?;
    let current = imports
        .os_namespace
        .bind(py)
        .get_item(intern!(py, "waitpid"))?;
    Ok(current.filter(|current| !current.is(&*imports.waitpid.bind(py))))
}

/// The status as the `subprocess` module has it: negative for the signal that ended the child.
fn return_code(status: &WaitIdStatus) -> Option<i32> {
    let signal = status.terminating_signal().map(|signal| -signal);
    status.exit_status().or(signal)
}
