//! The `SSL *` inside a genuine `ssl.SSLObject`, after the checks of rule T2.

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::python::Ref;

use super::library::{Library, Ssl, SslContext};
use super::names::names;

/// The fields of `PySSLSocket` that we know.
#[repr(C)]
struct SocketFields {
    head: ffi::PyObject,
    socket: *mut ffi::PyObject,
    ssl: *mut Ssl,
    context: *mut ffi::PyObject,
}

/// The fields of `PySSLContext` that we know.
#[repr(C)]
struct ContextFields {
    head: ffi::PyObject,
    context: *mut SslContext,
}

/// Whether the object's inner one is the ssl module's own.
pub(super) fn is_genuine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let Ok(inner) = object.getattr(intern!(py, "_sslobj")) else {
        return Ok(false);
    };
    Ok(inner.get_type().is(&names(py)?.inner_socket))
}

/// The pointer, with a reference to the `_ssl._SSLSocket` that owns it; `None` if a check fails.
pub(super) fn borrow_ssl(
    library: &Library,
    object: &Bound<'_, PyAny>,
) -> PyResult<Option<(NonNull<Ssl>, Ref)>> {
    let py = object.py();
    if !is_genuine(object)? {
        return Ok(None);
    }
    let inner = object.getattr(intern!(py, "_sslobj"))?;
    let context = inner.getattr(intern!(py, "context"))?;
    if !context.is_instance(&names(py)?.inner_context.bind(py))? {
        return Ok(None);
    }
    if size_of_objects(&inner) < size_of::<SocketFields>()
        || size_of_objects(&context) < size_of::<ContextFields>()
    {
        return Ok(None);
    }
    // SAFETY: T2, A2: both objects are at least so large, hence the words can be read; the `SSL *` is followed only
    // after the one behind it was found to be the context.
    unsafe {
        let fields = inner.as_ptr().cast::<SocketFields>();
        if (*fields).context != context.as_ptr() {
            return Ok(None);
        }
        let Some(ssl) = NonNull::new((*fields).ssl) else {
            return Ok(None);
        };
        let expected = (*context.as_ptr().cast::<ContextFields>()).context;
        if !ssl.addr().get().is_multiple_of(align_of::<usize>()) // they come from `malloc`
            || (library.functions.SSL_get_SSL_CTX)(ssl.as_ptr()) != expected
        {
            return Ok(None);
        }
        Ok(Some((ssl, inner.into())))
    }
}

/// `type(object).__basicsize__`.
fn size_of_objects(object: &Bound<'_, PyAny>) -> usize {
    // SAFETY: A2: the object is held, and holds its type.
    unsafe { (*ffi::Py_TYPE(object.as_ptr())).tp_basicsize.unsigned_abs() }
}
