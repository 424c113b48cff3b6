//! Datagram endpoints: `_make_datagram_transport`, which `create_datagram_endpoint` of `BaseEventLoop` calls.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::transports::datagram::{new_datagram, served_family};

use super::Loop;

#[pymethods]
impl Loop {
    /// Make a datagram transport for a socket: a native one, or asyncio's for a family that is not known here
    /// (netlink, packet) and for objects that are not quite sockets.
    #[pyo3(signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn _make_datagram_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Some(family) = served_family(sock)? else {
            let args = (sock, protocol, address, waiter, extra);
            return slf.call_method1(intern!(py, "_make_foreign_datagram_transport"), args);
        };
        slf.call_method1(intern!(py, "_ensure_fd_no_transport"), (sock,))?;
        new_datagram(slf, sock, family, protocol, address, waiter, extra)
    }
}
