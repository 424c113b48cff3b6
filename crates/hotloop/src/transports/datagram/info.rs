//! What a transport tells about itself: `get_extra_info` and `repr`.

use hotloop_reactor::Address;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::address;
use crate::imports::imports;
use crate::python::guard::none;
use crate::python::{FastArguments, Ref};

use crate::transports::object;

use super::Datagram;
use crate::python::make;
use crate::python::make::Words;

/// `transport.get_extra_info(name, default=None)`.
pub(super) fn get_extra_info<'py>(
    py: Python<'py>,
    slf: pyo3::Borrowed<'_, 'py, PyAny>,
    arguments: FastArguments<'_, 'py>,
) -> PyResult<Ref> {
    let [name, default] = arguments.named("get_extra_info", ["name", "default"])?;
    let Some(name) = name else {
        return Err(PyTypeError::new_err(Words(
            "BaseTransport.get_extra_info() missing 1 required positional argument: 'name'",
        )));
    };
    let extra = Datagram::of(&slf).extra(&slf)?;
    Ok(match extra.get_item(name)? {
        Some(value) => value.into(),
        None => default.map_or_else(|| none(py), |default| (&*default).into()),
    })
}

impl Datagram {
    /// The transport's dict of information, made when it is asked for.
    pub(super) fn extra<'py>(&self, transport: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = transport.py();
        // SAFETY: A4, A2: the slot holds a dict that we put there, or nothing.
        let known = unsafe {
            Bound::from_borrowed_ptr_or_opt(py, *object::extra_slot::<Datagram>(transport))
        };
        if let Some(known) = known {
            return Ok(known.cast_into::<PyDict>()?);
        }
        let extra = make::dict(py)?;
        self.fill_extra(&extra)?;
        object::replace_extra::<Datagram>(transport, extra.clone());
        Ok(extra)
    }

    /// As asyncio, the dict that the caller gave is the transport's from now on; a peer's name in it stays.
    pub(super) fn adopt_extra(
        &self,
        transport: &Bound<'_, PyAny>,
        extra: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        self.fill_extra(extra)?;
        object::replace_extra::<Datagram>(transport, extra.clone());
        Ok(())
    }

    fn fill_extra(&self, extra: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = extra.py();
        let socket = self.socket.get(py).map(|socket| socket.into_bound(py));
        let wrapped = imports(py)?.transport_socket.bind(py).call1((&socket,))?;
        extra.set_item(intern!(py, "socket"), wrapped)?;
        let name = |address: &Option<Address>, method: &str| -> PyResult<Ref> {
            match (address, &socket) {
                (None, _) => Ok(none(py)),
                // A path as long as it can be: the socket's own method knows it.
                (Some(Address::Other), Some(socket)) if self.open.get() => {
                    Ok(socket.call_method0(method)?.into())
                }
                (Some(address), _) => address::to_python(py, address),
            }
        };
        extra.set_item(
            intern!(py, "sockname"),
            name(&self.local, "getsockname")?.bind(py),
        )?;
        if !extra.contains(intern!(py, "peername"))? {
            extra.set_item(
                intern!(py, "peername"),
                name(&self.peer, "getpeername")?.bind(py),
            )?;
        }
        Ok(())
    }
}
