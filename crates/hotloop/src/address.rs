//! Socket addresses as Python's `socket` module writes and reads them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

use hotloop_reactor::{Address, Family, UnixName};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};

use crate::python::Ref;
use crate::python::guard::none;
use crate::python::make;

/// `(host, port)`, `(host, port, flowinfo, scope_id)`, a path as `str`, an abstract name as `bytes`; `None` for a
/// family that the native path does not know.
pub(crate) fn to_python(py: Python<'_>, address: &Address) -> PyResult<Ref> {
    Ok(match address {
        Address::V4(v4) => {
            let host = make::string(py, &address.ip_text())?.into_any();
            make::tuple(py, [host, make::number(py, v4.port().into())?])?.into()
        }
        Address::V6(v6) => {
            let host = make::string(py, &address.ip_text())?.into_any();
            let port = make::number(py, v6.port().into())?;
            let flow = make::number(py, v6.flowinfo().into())?;
            make::tuple(
                py,
                [host, port, flow, make::number(py, v6.scope_id().into())?],
            )?
            .into()
        }
        Address::Unix(UnixName::Unnamed) => make::string(py, "")?.into_any().into(),
        Address::Unix(UnixName::Path(path)) => decode_path(py, path)?,
        Address::Unix(UnixName::Abstract(name)) => {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            make::bytes(py, &bytes)?.into()
        }
        Address::Other => none(py),
    })
}

/// The address of an accepted or received message: `None` where the kernel names nobody.
pub(crate) fn sender_to_python(py: Python<'_>, address: Option<&Address>) -> PyResult<Ref> {
    address.map_or_else(|| Ok(none(py)), |address| to_python(py, address))
}

/// Reads an address whose host is numeric. `None` for everything else: the socket's own method then answers, with a
/// look-up or with an error in its words.
pub(crate) fn from_python(family: Family, address: &Bound<'_, PyAny>) -> Option<Address> {
    if family == Family::Unix {
        return unix_from_python(address);
    }
    let parts = address.cast_exact::<PyTuple>().ok()?;
    let host = parts.get_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    let number = |index: usize| -> Option<u32> {
        let part = parts.get_item(index).ok()?;
        part.cast_exact::<PyInt>().ok()?.extract().ok()
    };
    let port = u16::try_from(number(1)?).ok()?;
    match (family, parts.len()) {
        (Family::V4, 2) => Some(Address::V4(SocketAddrV4::new(
            host.parse::<Ipv4Addr>().ok()?,
            port,
        ))),
        (Family::V6, 2..=4) => {
            let flowinfo = if parts.len() > 2 { number(2)? } else { 0 };
            let scope_id = if parts.len() > 3 { number(3)? } else { 0 };
            let host = host.parse::<Ipv6Addr>().ok()?;
            // 20 bits (RFC 6437); beyond them Python raises.
            (flowinfo < 1 << 20)
                .then(|| Address::V6(SocketAddrV6::new(host, port, flowinfo, scope_id)))
        }
        _ => None,
    }
}

fn unix_from_python(address: &Bound<'_, PyAny>) -> Option<Address> {
    let name = if let Ok(bytes) = address.cast_exact::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else {
        let text = address.cast_exact::<PyString>().ok()?;
        text.extract::<std::ffi::OsString>()
            .ok()?
            .as_bytes()
            .to_vec()
    };
    match name.split_first() {
        None => None,
        // What does not fit into `sun_path`: Python has words of its own for that.
        Some((0, rest)) if rest.len() < SUN_PATH => {
            Some(Address::Unix(UnixName::Abstract(rest.to_vec())))
        }
        Some(_) if name.contains(&0) || name.len() >= SUN_PATH => None,
        Some(_) => Some(Address::Unix(UnixName::Path(name))),
    }
}

/// The size of `sun_path`, with the NUL at the end of a path (unix(7)).
const SUN_PATH: usize = 108;

fn decode_path(py: Python<'_>, path: &[u8]) -> PyResult<Ref> {
    Ok(make::path(py, path)?.into())
}
