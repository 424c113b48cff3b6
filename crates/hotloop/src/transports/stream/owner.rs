//! Who keeps a transport's descriptor open: a Python socket or the transport itself.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use hotloop_reactor::Address;
use pyo3::intern;
use pyo3::prelude::*;

use crate::imports::imports;
use crate::python::Ref;

use super::Stream;
use crate::python::make;

/// See the note on ownership in the module's header.
pub(super) enum Owner {
    /// The transport is closed.
    Closed,
    /// A Python socket; whether the transport counts among its users.
    Socket(Ref, bool),
    /// The bare descriptor.
    Descriptor(OwnedFd),
}

impl Owner {
    /// The transport will use a Python socket. Anything with `fileno()` and `close()` is taken, as asyncio does.
    pub(super) fn of_socket(socket: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = socket.py();
        let counted = socket.is_instance(&imports(py)?.socket.bind(py))?;
        if counted {
            add_to_users(socket, 1)?;
        }
        Ok(Self::Socket(socket.into(), counted))
    }

    pub(super) fn socket(&self) -> Option<&Ref> {
        match self {
            Self::Socket(socket, _) => Some(socket),
            Self::Closed | Self::Descriptor(_) => None,
        }
    }
}

impl Stream {
    /// What `get_extra_info("socket")` wraps: the Python socket, or a closed one after the transport was closed.
    pub(super) fn socket_for_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(socket) = self.python_socket(py)? {
            return Ok(socket);
        }
        let family = match self.local {
            Some(Address::V4(_)) => "AF_INET",
            Some(Address::V6(_)) => "AF_INET6",
            Some(Address::Unix(_) | Address::Other) | None => "AF_UNIX",
        };
        let socket = imports(py)?
            .socket
            .bind(py)
            .call1((py.import("socket")?.getattr(family)?,))?;
        socket.call_method0(intern!(py, "close"))?;
        Ok(socket)
    }

    /// The Python socket, made now if the transport has a bare descriptor; `None` if the transport is closed.
    pub(super) fn python_socket<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(socket) = self.owner.borrow().socket() {
            return Ok(Some(socket.bind(py).to_owned()));
        }
        if matches!(*self.owner.borrow(), Owner::Closed) {
            return Ok(None);
        }
        let made = adopt(py, self.fd, 1);
        // Making it can run Python code (a collection, an audit hook), and that can have asked for the socket, too, or
        // closed the transport. From here to the hand-over none runs.
        if !matches!(*self.owner.borrow(), Owner::Descriptor(_)) {
            if let Ok(socket) = made {
                socket.call_method0(intern!(py, "detach"))?;
            }
            return self.python_socket(py);
        }
        let socket = made?;
        let before = self.owner.replace(Owner::Socket((&socket).into(), true));
        if let Owner::Descriptor(descriptor) = before {
            let _ = descriptor.into_raw_fd();
        }
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
        Ok(Some(socket))
    }

    /// Closes the descriptor, or gives the socket back and closes it.
    pub(super) fn close_owner(&self, py: Python<'_>) -> PyResult<()> {
        let owner = self.owner.replace(Owner::Closed);
        match owner {
            Owner::Closed => Ok(()),
            Owner::Descriptor(descriptor) => {
                drop(descriptor);
                Ok(())
            }
            Owner::Socket(socket, counted) => {
                let socket = socket.bind(py);
                if counted {
                    add_to_users(&socket, -1)?;
                }
                socket.call_method0(intern!(py, "close")).map(drop)
            }
        }
    }
}

/// A `socket.socket` for a descriptor, with so many users. `socket.__init__` is Python code, in which a signal's
/// exception can arise when the object has the descriptor already and closes it as it is dropped; so what it does is
/// done here, and the descriptor goes in last, by the C method that it calls.
pub(crate) fn adopt(py: Python<'_>, fd: RawFd, users: i32) -> PyResult<Bound<'_, PyAny>> {
    let imports = imports(py)?;
    let class = imports.socket.bind(py);
    let socket = class.call_method1(intern!(py, "__new__"), (class,))?;
    socket.setattr(intern!(py, "_io_refs"), users)?;
    socket.setattr(intern!(py, "_closed"), false)?;
    let named = make::dict(py)?;
    named.set_item(intern!(py, "fileno"), fd)?;
    // It asks the kernel for family, type and protocol.
    imports
        .raw_socket_init
        .bind(py)
        .call((&socket,), Some(&named))?;
    Ok(socket)
}

/// `socket.close()` waits until the number of its users, `_io_refs`, is 0 (`socket.makefile` uses it likewise).
pub(crate) fn add_to_users(socket: &Bound<'_, PyAny>, change: i32) -> PyResult<()> {
    let name = intern!(socket.py(), "_io_refs");
    let users: i32 = socket.getattr(name)?.extract()?;
    socket.setattr(name, users + change)
}
