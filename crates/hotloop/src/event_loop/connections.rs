//! Outgoing connections to a numeric address or a Unix path: a descriptor of our own from `socket` to transport.
//!
//! asyncio makes a Python socket, sets it up by several calls, and hands it to the transport, which needs only the
//! descriptor. The two halves here are what comes before and after the wait; `_connections.py` calls them from
//! `create_connection` and `create_unix_connection`, and takes asyncio's way whenever one of them declines: for every
//! address that is not numeric, every error that comes at once, every overridden hook or replaced `socket.socket`.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use hotloop_reactor::{self as reactor, Address, Family};
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple, PyType};
use rustix::io::Errno;

use crate::address;
use crate::imports::imports;
use crate::python::{Ref, call, make};
use crate::transports::stream::{Options, Origin, new_stream};

use super::Loop;
use super::hooks::Hooks;
use super::sock;

/// A pair: a descriptor and, unless it is connected already, a future to wait for; else None.
type Dialed<'py> = Bound<'py, PyTuple>;

/// A descriptor that is being connected. It has what waiting for it needs of a socket: `fileno()`.
#[pyclass(frozen, module = "hotloop._core")]
pub(super) struct Dialing {
    descriptor: RefCell<Option<OwnedFd>>,
    /// The address of the peer, where the kernel need not be asked for it.
    peer: Cell<Option<Address>>,
}

// SAFETY: A1: used only by the thread that holds the interpreter.
unsafe impl Sync for Dialing {}

#[pymethods]
impl Dialing {
    /// The descriptor's number; -1 once it is closed or a transport has it.
    fn fileno(&self) -> RawFd {
        let descriptor = self.descriptor.borrow();
        descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Close the descriptor.
    fn close(&self) {
        drop(self.descriptor.take());
    }
}

#[pymethods]
impl Loop {
    /// Begin to connect to a numeric address: the descriptor, with a future to wait for or None. None instead of both:
    /// asyncio's way has to be taken.
    fn _dial<'py>(
        slf: &Bound<'py, Self>,
        host: &Bound<'py, PyAny>,
        port: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Dialed<'py>>> {
        let Some(to) = numeric(host, port) else {
            return Ok(None);
        };
        let py = slf.py();
        // As asyncio names it in its errors: the host as it was given.
        let (family, name) = match &to {
            Address::V6(_) => {
                let zero = make::number(py, 0)?;
                (Family::V6, make::tuple(py, [host, port, &zero, &zero])?)
            }
            _ => (Family::V4, make::tuple(py, [host, port])?),
        };
        dial(slf, family, to, name.into_any())
    }

    /// The same for a Unix socket's path or abstract name.
    fn _dial_unix<'py>(
        slf: &Bound<'py, Self>,
        path: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Dialed<'py>>> {
        match address::from_python(Family::Unix, path) {
            Some(to) => dial(slf, Family::Unix, to, path.clone()),
            None => Ok(None),
        }
    }

    /// Make the transport of a descriptor that has been connected.
    fn _dialed<'py>(
        slf: &Bound<'py, Self>,
        dialing: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let dialing = dialing.cast::<Dialing>()?.get();
        let Some(descriptor) = dialing.descriptor.take() else {
            return Err(PyOSError::new_err(Errno::BADF.raw_os_error()));
        };
        let peer = dialing.peer.take();
        let origin = Origin::Connected { descriptor, peer };
        let options = Options {
            waiter: Some(waiter),
            // As asyncio from 3.15 on: the transport has one context for all callbacks of its protocol.
            context: match cfg!(Py_3_15) {
                true => Some(call::copy_context(slf.py())?),
                false => None,
            },
            ..Options::default()
        };
        new_stream(slf, origin, protocol, options)
    }
}

/// What programs override or replace to have a say in connections.
const CONNECTING: Hooks = Hooks::MAKE_SOCKET_TRANSPORT
    .with(Hooks::ENSURE_RESOLVED)
    .with(Hooks::CONNECT_SOCK)
    .with(Hooks::SOCK_CONNECT)
    .with(Hooks::CREATE_CONNECTION_TRANSPORT);

fn dial<'py>(
    this: &Bound<'py, Loop>,
    family: Family,
    to: Address,
    name: Bound<'py, PyAny>,
) -> PyResult<Option<Dialed<'py>>> {
    let py = this.py();
    let state = this.get();
    if state.closed.get()
        || state.debug.get()
        || state.hooks.get().any(CONNECTING)
        || !imports(py)?.sockets.untouched(py)?
    {
        return Ok(None);
    }
    let Ok(descriptor) = reactor::stream_socket(family) else {
        return Ok(None);
    };
    let connected = match reactor::connect(descriptor.as_fd(), &to) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => false,
        Err(_) => return Ok(None),
    };
    let dialing = Dialing {
        descriptor: RefCell::new(Some(descriptor)),
        peer: Cell::new(is_itself(&to).then_some(to)),
    };
    let dialing = Bound::new(py, dialing)?.into_any();
    let waiting = match connected {
        true => py.None().into_bound(py),
        false => sock::wait_until_connected(this, &dialing, name)?,
    };
    make::tuple(py, [dialing, waiting]).map(Some)
}

/// What the program may have replaced of the `socket` module.
pub(crate) struct Names {
    socket_module: Ref,
    socket_namespace: Py<PyDict>,
    base_events_namespace: Py<PyDict>,
    /// `socket.socket`, if it was Python's own when hotloop was imported.
    class: Option<Py<PyType>>,
    /// `asyncio.base_events._ipaddr_info`, which says what is a numeric address.
    ipaddr_info: Ref,
}

impl Names {
    pub(crate) fn load(py: Python<'_>) -> PyResult<Self> {
        let module = py.import("socket")?;
        let base_events = py.import("asyncio.base_events")?;
        let class = module.getattr("socket")?.cast_into::<PyType>()?;
        let genuine = class.module()? == "socket" && class.name()? == "socket";
        Ok(Self {
            socket_namespace: module.dict().unbind(),
            socket_module: module.into_any().into(),
            ipaddr_info: base_events.getattr("_ipaddr_info")?.into(),
            base_events_namespace: base_events.dict().unbind(),
            class: genuine.then(|| class.unbind()),
        })
    }

    /// Whether the module that asyncio uses, its `socket` class and that class's `connect` are Python's own.
    fn untouched(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(class) = &self.class else {
            return Ok(false);
        };
        let is = |namespace: &Py<PyDict>, name: &Bound<'_, PyString>, known: *mut _| {
            let found = namespace.bind(py).get_item(name)?;
            PyResult::Ok(found.is_some_and(|found| found.as_ptr() == known))
        };
        let base_events = &self.base_events_namespace;
        Ok(is(
            &self.socket_namespace,
            intern!(py, "socket"),
            class.as_ptr(),
        )? && is(
            base_events,
            intern!(py, "socket"),
            self.socket_module.as_ptr(),
        )? && is(
            base_events,
            intern!(py, "_ipaddr_info"),
            self.ipaddr_info.as_ptr(),
        )? && !replaces(class.bind(py), intern!(py, "connect"))?)
    }
}

/// Whether a class that inherits a method has been given another one in its place.
pub(super) fn replaces(class: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    let namespace = class.getattr(intern!(class.py(), "__dict__"))?;
    namespace.contains(name)
}

/// The numeric addresses that asyncio connects to without a look-up, in their common forms.
fn numeric(host: &Bound<'_, PyAny>, port: &Bound<'_, PyAny>) -> Option<Address> {
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    let port: u16 = port.cast_exact::<PyInt>().ok()?.extract().ok()?;
    if host.contains(':') {
        let ip = host.parse::<Ipv6Addr>().ok()?;
        return Some(Address::V6(SocketAddrV6::new(ip, port, 0, 0)));
    }
    let ip = host.parse::<Ipv4Addr>().ok()?;
    Some(Address::V4(SocketAddrV4::new(ip, port)))
}

/// Whether the peer of a connection to this address will have this very address. That of `0.0.0.0` is `127.0.0.1`, and
/// link-local ones get a scope.
fn is_itself(address: &Address) -> bool {
    match address {
        Address::V4(v4) => !v4.ip().is_unspecified(),
        Address::V6(v6) => !v6.ip().is_unspecified() && !v6.ip().is_unicast_link_local(),
        Address::Unix(_) => true,
        Address::Other => false,
    }
}
