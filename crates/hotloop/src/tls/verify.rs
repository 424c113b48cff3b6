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

/// Whether OpenSSL may be called instead of the object's `read` and `write`: what is inside is the ssl module's own, the
/// two methods are, too, and no callback watches the messages, whose exceptions only the methods find.
pub(super) fn may_be_driven(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let names = names(py)?;
    let Some(inner) = inner_socket(object)? else {
        return Ok(false);
    };
    if !names.read.is_own(object) || !names.write.is_own(object) {
        return Ok(false);
    }
    let Some(message_callback) = &names.message_callback else {
        return Ok(true);
    };
    let context = inner.getattr(intern!(py, "context"))?;
    let callback = message_callback
        .bind(py)
        .call_method1(intern!(py, "__get__"), (context,))?;
    Ok(callback.is_none())
}

/// The `_ssl._SSLSocket` inside the object, if it is exactly one.
fn inner_socket<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    let Ok(inner) = object.getattr(intern!(py, "_sslobj")) else {
        return Ok(None);
    };
    let is_genuine = inner.get_type().is(&names(py)?.inner_socket);
    Ok(is_genuine.then_some(inner))
}

/// The pointer, with a reference to the `_ssl._SSLSocket` that owns it; `None` if a check fails.
pub(super) fn borrow_ssl(
    library: &Library,
    object: &Bound<'_, PyAny>,
) -> PyResult<Option<(NonNull<Ssl>, Ref)>> {
    let py = object.py();
    let Some(inner) = inner_socket(object)? else {
        return Ok(None);
    };
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
