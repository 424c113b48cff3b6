//! Look-ups that need no thread: a numeric host with a numeric port.
//!
//! What is answered here is what glibc's getaddrinfo(3) says of the same arguments, entry by entry: one for each of
//! stream, datagram and raw sockets that type and protocol admit, in that order. A host in an unusual spelling
//! (`127.1`, a scope after `%`), a port that is a name, a flag that asks for more: `None`, and the Python half
//! (`_dns.py`) goes on. The reference is the answer of `socket.getaddrinfo`, with which the tests compare.

use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::python::make;
use hotloop_reactor::{Address, Lookup, LookupFailed};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::address;
use crate::errors::os_error;
use crate::imports::imports;
use crate::python::Ref;

use super::Loop;
use super::hooks::Hooks;

/// `AI_PASSIVE`, `AI_NUMERICHOST`, `AI_NUMERICSERV` (netdb.h): none of them changes the answer for a numeric host.
const HARMLESS_FLAGS: i32 = 0x1 | 0x4 | 0x400;
/// The entries of a stream, a datagram and a raw socket: type and protocol.
const KINDS: [(i32, i32); 3] = [(1, 6), (2, 17), (3, 0)];
/// `AF_INET` and `AF_INET6` on Linux.
const FAMILIES: [i32; 2] = [2, 10];

/// What look-ups take from the `socket` module.
pub(crate) struct Names {
    /// `socket.__dict__` and `_socket.__dict__`, where a program may have put another `getaddrinfo`, and that of
    /// `asyncio.base_events`, where CPython's own tests put another `socket` module.
    python: Py<PyDict>,
    native: Py<PyDict>,
    asyncio: Py<PyDict>,
    module: Ref,
    /// The two functions themselves; empty if they were replaced before hotloop was imported.
    genuine: Option<[Ref; 2]>,
    /// The members of `socket.AddressFamily` and `socket.SocketKind`, in the order of the constants above.
    families: [Ref; 2],
    kinds: [Ref; 3],
    gaierror: Ref,
    has_ipv6: bool,
    audit: Ref,
}

impl Names {
    pub(crate) fn load(py: Python<'_>) -> PyResult<Self> {
        let socket = py.import("socket")?;
        let raw = py.import("_socket")?;
        let (python, native) = (socket.dict(), raw.dict());
        let function = socket.getattr("getaddrinfo")?;
        let builtin = raw.getattr("getaddrinfo")?;
        let untouched = function
            .getattr("__globals__")
            .is_ok_and(|globals| globals.is(&python))
            && builtin
                .getattr("__self__")
                .is_ok_and(|module| module.is(&raw));
        let member = |name: &str| -> PyResult<Ref> { Ok(socket.getattr(name)?.into()) };
        Ok(Self {
            python: python.unbind(),
            native: native.unbind(),
            asyncio: py.import("asyncio.base_events")?.dict().unbind(),
            module: (&socket).into(),
            genuine: untouched.then(|| [function.into(), builtin.into()]),
            families: [member("AF_INET")?, member("AF_INET6")?],
            kinds: [
                member("SOCK_STREAM")?,
                member("SOCK_DGRAM")?,
                member("SOCK_RAW")?,
            ],
            gaierror: member("gaierror")?,
            has_ipv6: socket.getattr("has_ipv6")?.is_truthy()?,
            audit: py.import("sys")?.getattr("audit")?.into(),
        })
    }

    /// Tells audit hooks of a look-up, as the socket module does before each (PEP 578).
    pub(super) fn announce(
        &self,
        host: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
        family: &Bound<'_, PyAny>,
        kind: &Bound<'_, PyAny>,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = host.py();
        let event = intern!(py, "socket.getaddrinfo");
        let audit = self.audit.bind(py);
        audit
            .call1((event, host, port, family, kind, protocol))
            .map(drop)
    }

    /// `(family, type, proto, canonname, sockaddr)`.
    fn entry<'py>(
        &self,
        py: Python<'py>,
        family: usize,
        kind: &Ref,
        protocol: i32,
        address: &Ref,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let parts = [
            self.families[family].bind(py).to_owned(),
            kind.bind(py).to_owned(),
            make::number(py, protocol.into())?,
            intern!(py, "").clone().into_any(),
            address.bind(py).to_owned(),
        ];
        make::tuple(py, parts)
    }

    /// What the resolver has found, as a list of entries.
    ///
    /// # Errors
    /// `socket.gaierror`, or `OSError` for a failure of the system.
    pub(super) fn answer<'py>(
        &self,
        py: Python<'py>,
        lookup: Lookup,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = lookup.map_err(|failure| match failure {
            LookupFailed::System(error) => os_error(py, &error),
            LookupFailed::Lookup(number) => self.failure(py, number).unwrap_or_else(|error| error),
        })?;
        let entries = make::list(py)?;
        for entry in found {
            let (index, address) = match entry.address {
                SocketAddr::V4(v4) => (0, Address::V4(v4)),
                SocketAddr::V6(v6) => (1, Address::V6(v6)),
            };
            let address = address::to_python(py, &address)?;
            let known = KINDS.iter().position(|(kind, _)| *kind == entry.kind);
            // No other kind was asked for.
            let Some(kind) = known.map(|known| &self.kinds[known]) else {
                continue;
            };
            entries.append(self.entry(py, index, kind, entry.protocol, &address)?)?;
        }
        Ok(entries)
    }

    /// `socket.gaierror` for one of the `EAI_…` numbers, in the C library's words.
    fn failure(&self, py: Python<'_>, number: i32) -> PyResult<PyErr> {
        // SAFETY: A2: gai_strerror(3) takes any number and returns a string that is never freed.
        let words = unsafe { CStr::from_ptr(libc::gai_strerror(number)) };
        let error = self
            .gaierror
            .bind(py)
            .call1((number, make::string(py, &words.to_string_lossy())?))?;
        Ok(PyErr::from_value(error))
    }

    /// Whether the `socket.getaddrinfo` that asyncio would call is what it was when hotloop was imported.
    fn untouched(&self, py: Python<'_>) -> PyResult<bool> {
        let Some([function, builtin]) = &self.genuine else {
            return Ok(false);
        };
        let is = |namespace: &Py<PyDict>, name: &Bound<'_, PyString>, known: &Ref| {
            let found = namespace.bind(py).get_item(name)?;
            PyResult::Ok(found.is_some_and(|found| found.as_ptr() == known.as_ptr()))
        };
        let name = intern!(py, "getaddrinfo");
        Ok(is(&self.python, name, function)?
            && is(&self.native, name, builtin)?
            && is(&self.asyncio, intern!(py, "socket"), &self.module)?)
    }
}

#[pymethods]
impl Loop {
    /// Whether look-ups may be answered in another way than by one call of `socket.getaddrinfo` in the executor each:
    /// the loop is open, not in debug mode, and nobody has put functions of his own in the way.
    fn _may_shorten_lookups(&self, py: Python<'_>) -> PyResult<bool> {
        let special = self.closed.get() || self.debug.get() || self.hooks.get().any(Hooks::LOOKUPS);
        Ok(!special && imports(py)?.dns.untouched(py)?)
    }

    /// The answer of `socket.getaddrinfo` for a numeric host and port; None if it has to be asked.
    #[pyo3(signature = (host, port, family, r#type, proto, flags))]
    fn _numeric_addrinfo<'py>(
        slf: &Bound<'py, Self>,
        host: &Bound<'py, PyAny>,
        port: &Bound<'py, PyAny>,
        family: &Bound<'py, PyAny>,
        r#type: &Bound<'py, PyAny>,
        proto: &Bound<'py, PyAny>,
        flags: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let py = slf.py();
        let names = &imports(py)?.dns;
        let Some(query) = Query::read(host, port, [family, r#type, proto, flags]) else {
            return Ok(None);
        };
        let (index, address) = &query.address;
        let index = *index;
        if (index == 1 && !names.has_ipv6) || !slf.get()._may_shorten_lookups(py)? {
            return Ok(None);
        }
        names.announce(host, port, family, r#type, proto)?;
        let address = address::to_python(py, address)?;
        let entries = make::list(py)?;
        for (kind, (number, protocol)) in names.kinds.iter().zip(KINDS) {
            if !query.admits(number, protocol) {
                continue;
            }
            entries.append(names.entry(py, index, kind, protocol, &address)?)?;
        }
        // Type and protocol that do not go together: an error, in the C library's words.
        Ok((!entries.is_empty()).then_some(entries))
    }
}

/// A look-up that can be answered here.
pub(super) struct Query {
    /// The index of the family in [`FAMILIES`], and the address.
    address: (usize, Address),
    kind: i32,
    protocol: i32,
}

impl Query {
    fn read(
        host: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
        numbers: [&Bound<'_, PyAny>; 4],
    ) -> Option<Self> {
        let [family, kind, protocol, flags] = numbers.map(number);
        let (family, kind, protocol, flags) = (family?, kind?, protocol?, flags?);
        // Raw sockets have no ports, and other kinds no entry in the C library's table.
        if flags & !HARMLESS_FLAGS != 0 || !matches!(kind, 0..=2) || !matches!(protocol, 0 | 6 | 17)
        {
            return None;
        }
        let (index, address) = numeric_host(host, numeric_port(port)?)?;
        (family == 0 || family == FAMILIES[index]).then_some(Self {
            address: (index, address),
            kind,
            protocol,
        })
    }

    /// Whether the answer has an entry for this kind of socket.
    fn admits(&self, kind: i32, protocol: i32) -> bool {
        (self.kind == 0 || self.kind == kind) && (self.protocol == 0 || self.protocol == protocol)
    }
}

fn numeric_host(host: &Bound<'_, PyAny>, port: u16) -> Option<(usize, Address)> {
    let text = if let Ok(text) = host.cast_exact::<PyString>() {
        text.to_str().ok()?
    } else {
        std::str::from_utf8(host.cast_exact::<PyBytes>().ok()?.as_bytes()).ok()?
    };
    if text.contains(':') {
        let ip = text.parse::<Ipv6Addr>().ok()?;
        let address = SocketAddrV6::new(ip, port, 0, 0);
        return Some((1, Address::V6(address)));
    }
    let ip = text.parse::<Ipv4Addr>().ok()?;
    Some((0, Address::V4(SocketAddrV4::new(ip, port))))
}

/// None is port 0; so is an empty text. Numbers above 65535 are cut by the C library: it shall do so itself.
fn numeric_port(port: &Bound<'_, PyAny>) -> Option<u16> {
    if port.is_none() {
        return Some(0);
    }
    if let Ok(number) = port.cast_exact::<PyInt>() {
        return number.extract().ok();
    }
    let text = if let Ok(text) = port.cast_exact::<PyString>() {
        text.to_str().ok()?.as_bytes()
    } else {
        port.cast_exact::<PyBytes>().ok()?.as_bytes()
    };
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// An int, or a member of one of the socket module's enumerations.
pub(super) fn number(object: &Bound<'_, PyAny>) -> Option<i32> {
    object.cast::<PyInt>().ok()?.extract().ok()
}
