//! Who keeps a transport's descriptor open: a Python socket or the transport itself.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::python::make;
use hotloop_reactor::Address;
use pyo3::intern;
use pyo3::prelude::*;

use crate::imports::imports;
use crate::python::Ref;

use super::Stream;

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
        let made = adopt(py, self.fd, 1, Traits::STREAM);
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

/// The non-blocking `socket.socket` of a connection that `listener`, a listening socket, has accepted: of its family and
/// protocol, as `socket.accept()` makes it.
pub(crate) fn socket_of_accepted<'py>(
    listener: &Bound<'py, PyAny>,
    descriptor: OwnedFd,
) -> PyResult<Bound<'py, PyAny>> {
    let py = listener.py();
    let imports = imports(py)?;
    let traits = if listener.is_instance(&imports.socket.bind(py))? {
        // Past the properties of `socket.socket`, which make members of enumerations of them.
        let of_listener = |index: usize| -> PyResult<i32> {
            let member = imports.raw_socket_members[index].bind(py);
            member
                .call_method1(intern!(py, "__get__"), (listener,))?
                .extract()
        };
        Traits {
            family: of_listener(0)?,
            kind: of_listener(1)? | NONBLOCK,
            protocol: of_listener(2)?,
        }
    } else {
        Traits::STREAM
    };
    let socket = adopt(py, descriptor.as_raw_fd(), 0, traits)?;
    let _ = descriptor.into_raw_fd(); // the socket has it now
    Ok(socket)
}

/// Family, type and protocol of a socket; -1 lets Python ask the kernel.
struct Traits {
    family: i32,
    kind: i32,
    protocol: i32,
}

impl Traits {
    const STREAM: Self = Self {
        family: -1,
        kind: 1 | NONBLOCK, // SOCK_STREAM
        protocol: -1,
    };
}

/// `SOCK_NONBLOCK`: Python then takes the descriptor for non-blocking, which it is, without a system call.
const NONBLOCK: i32 = 0o4000;

/// A `socket.socket` for a descriptor, with so many users. `socket.__init__` is Python code, in which a signal's
/// exception can arise when the object has the descriptor already and closes it as it is dropped; so what it does is
/// done here, and the descriptor goes in last, by the C method that it calls.
fn adopt(py: Python<'_>, fd: RawFd, users: i32, traits: Traits) -> PyResult<Bound<'_, PyAny>> {
    let imports = imports(py)?;
    let class = imports.socket.bind(py);
    let socket = class.call_method1(intern!(py, "__new__"), (class,))?;
    socket.setattr(intern!(py, "_io_refs"), users)?;
    socket.setattr(intern!(py, "_closed"), false)?;
    let numbers = [traits.family, traits.kind, traits.protocol, fd];
    let mut args = vec![socket.clone()];
    for number in numbers {
        args.push(make::number(py, number.into())?);
    }
    let args = make::tuple(py, args)?; // `__init__` of a C type is called with a tuple
    imports.raw_socket_init.bind(py).call1(args)?;
    Ok(socket)
}

/// `socket.close()` waits until the number of its users, `_io_refs`, is 0 (`socket.makefile` uses it likewise).
pub(crate) fn add_to_users(socket: &Bound<'_, PyAny>, change: i32) -> PyResult<()> {
    let name = intern!(socket.py(), "_io_refs");
    let users: i32 = socket.getattr(name)?.extract()?;
    socket.setattr(name, users + change)
}
