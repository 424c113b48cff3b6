//! Socket addresses as Python's `socket` module writes them.

use hotloop_reactor::{Address, UnixName};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::python::Ref;
use crate::python::guard::none;

/// `(host, port)`, `(host, port, flowinfo, scope_id)`, a path as `str`, an abstract name as `bytes`; `None` for a
/// family that the native path does not know.
pub(crate) fn to_python(py: Python<'_>, address: &Address) -> PyResult<Ref> {
    Ok(match address {
        Address::V4(v4) => (address.ip_text(), v4.port()).into_pyobject(py)?.into(),
        Address::V6(v6) => (address.ip_text(), v6.port(), v6.flowinfo(), v6.scope_id())
            .into_pyobject(py)?
            .into(),
        Address::Unix(UnixName::Unnamed) => "".into_pyobject(py)?.into(),
        Address::Unix(UnixName::Path(path)) => decode_path(py, path)?,
        Address::Unix(UnixName::Abstract(name)) => {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            PyBytes::new(py, &bytes).into()
        }
        Address::Other => none(py),
    })
}

fn decode_path(py: Python<'_>, path: &[u8]) -> PyResult<Ref> {
    use std::os::unix::ffi::OsStrExt;
    // The file system encoding with surrogate escapes, as `os.fsdecode`.
    Ok(std::ffi::OsStr::from_bytes(path).into_pyobject(py)?.into())
}
