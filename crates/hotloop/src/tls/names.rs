//! What TLS takes from the running Python's `ssl`, `_ssl` and `asyncio` modules: looked up at the first use, because
//! a Python without `ssl` has a working loop, too.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};

use crate::python::Ref;
use crate::python::make::{self, Words};

/// So many answers of `cipher()` are kept for other connections: more than an OpenSSL has.
const MOST_CIPHERS: usize = 256;

pub(crate) struct Names {
    /// `_ssl._SSLSocket` and `_ssl._SSLContext`: the types inside `ssl.SSLObject` and behind `ssl.SSLContext`.
    pub(super) inner_socket: Py<PyAny>,
    pub(super) inner_context: Ref,
    /// What reads `_msg_callback` of the latter, if it has one.
    pub(super) message_callback: Option<Ref>,
    /// Methods of `ssl.SSLObject`.
    pub(super) read: Method,
    pub(super) write: Method,
    pub(super) do_handshake: Method,
    pub(super) unwrap: Method,
    /// `ssl.MemoryBIO`.
    pub(crate) memory_bio: Ref,
    /// `ssl.SSLWantReadError` and `ssl.SSLSyscallError`: asyncio takes both for "not yet".
    want_read: Ref,
    syscall: Ref,
    /// `ssl.SSLError`, `ssl.CertificateError`.
    ssl_error: Ref,
    certificate_error: Ref,
    /// `asyncio.sslproto.SSLProtocolState`.
    pub(crate) states: Ref,
    /// `asyncio.sslproto._create_transport_context` and `add_flowcontrol_defaults`.
    pub(crate) create_transport_context: Ref,
    pub(crate) add_flowcontrol_defaults: Ref,
    /// `asyncio.constants`: seconds, and the marks of flow control in KiB.
    pub(crate) handshake_timeout: Ref,
    pub(crate) shutdown_timeout: Ref,
    pub(crate) high_water_read: usize,
    pub(crate) high_water_write: usize,
    /// Whether `is_closing()` of the program's transport also asks the one under it (3.14, late 3.13).
    pub(crate) closing_follows_transport: bool,
    /// The answers of `cipher()` that connections have, each under itself: a dict.
    ciphers: Py<PyDict>,
    /// `asyncio.exceptions.TimeoutError` and `CancelledError`.
    pub(crate) timeout_error: Ref,
    pub(crate) cancelled_error: Ref,
}

/// A method of `ssl.SSLObject`.
pub(super) struct Method {
    name: Py<PyString>,
    /// The ssl module's own function; nothing if it had been replaced before we looked.
    function: Option<Ref>,
}

impl Method {
    fn new(ssl: &Bound<'_, PyModule>, name: &str) -> PyResult<Self> {
        let py = ssl.py();
        let found = ssl.getattr("SSLObject")?.getattr(name)?;
        let is_own = found
            .getattr("__globals__")
            .is_ok_and(|globals| globals.is(ssl.dict()));
        Ok(Self {
            name: make::string(py, name)?.unbind(),
            function: is_own.then(|| found.into()),
        })
    }

    /// Whether a call of this method of `object` calls the ssl module's function: neither a class nor a patch of the
    /// program is in between.
    pub(super) fn is_own(&self, object: &Bound<'_, PyAny>) -> bool {
        let py = object.py();
        let Some(function) = &self.function else {
            return false;
        };
        object
            .getattr(&self.name)
            .and_then(|method| method.getattr(intern!(py, "__func__")))
            .is_ok_and(|found| found.is(function.bind(py).as_any()))
    }
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

/// The table.
///
/// # Errors
/// `RuntimeError` if this Python has no `ssl` module, in asyncio's words.
pub(crate) fn names(py: Python<'_>) -> PyResult<&'static Names> {
    match NAMES.get(py) {
        Some(names) => Ok(names),
        None => NAMES.get_or_try_init(py, || load(py)),
    }
}

impl Names {
    /// Whether an exception only means that more has to be received.
    pub(crate) fn is_again(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.matches(py, self.want_read.bind(py)).unwrap_or(false)
            || error.matches(py, self.syscall.bind(py)).unwrap_or(false)
    }

    /// Whether it is an `ssl.SSLError`.
    pub(crate) fn is_ssl_error(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.matches(py, self.ssl_error.bind(py)).unwrap_or(false)
    }

    /// Whether it is an `ssl.CertificateError`.
    pub(crate) fn is_certificate_error(&self, py: Python<'_>, error: &PyErr) -> bool {
        let class = self.certificate_error.bind(py);
        error.matches(py, class).unwrap_or(false)
    }

    /// An answer of `SSLObject.cipher()`, or the equal one that another connection has: each is made anew, and would be
    /// kept as long as its connection.
    pub(crate) fn shared_cipher<'py>(
        &self,
        cipher: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let is_plain = |part: Bound<'_, PyAny>| {
            part.is_exact_instance_of::<PyString>() || part.is_exact_instance_of::<PyInt>()
        };
        // A program's own class may answer anything: that is neither hashed nor kept.
        match cipher.cast_exact::<PyTuple>() {
            Ok(parts) if parts.iter().all(is_plain) => {}
            _ => return Ok(cipher),
        }
        let known = self.ciphers.bind(cipher.py());
        if let Some(shared) = known.get_item(&cipher)? {
            return Ok(shared);
        }
        if known.len() < MOST_CIPHERS {
            known.set_item(&cipher, &cipher)?;
        }
        Ok(cipher)
    }
}

fn load(py: Python<'_>) -> PyResult<Names> {
    let ssl = py
        .import("ssl")
        .map_err(|_| PyRuntimeError::new_err(Words("stdlib ssl module not available")))?;
    let inner = py.import("_ssl")?;
    let sslproto = py.import("asyncio.sslproto")?;
    let constants = py.import("asyncio.constants")?;
    let exceptions = py.import("asyncio.exceptions")?;
    let of = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<Ref> {
        Ok(module.getattr(name)?.into())
    };
    let kibibytes =
        |name: &str| -> PyResult<usize> { Ok(constants.getattr(name)?.extract::<usize>()? * 1024) };
    Ok(Names {
        inner_socket: inner.getattr("_SSLSocket")?.unbind(),
        inner_context: of(&inner, "_SSLContext")?,
        message_callback: inner
            .getattr("_SSLContext")?
            .getattr_opt("_msg_callback")?
            .map(Ref::from),
        read: Method::new(&ssl, "read")?,
        write: Method::new(&ssl, "write")?,
        do_handshake: Method::new(&ssl, "do_handshake")?,
        unwrap: Method::new(&ssl, "unwrap")?,
        memory_bio: of(&ssl, "MemoryBIO")?,
        want_read: of(&ssl, "SSLWantReadError")?,
        syscall: of(&ssl, "SSLSyscallError")?,
        ssl_error: of(&ssl, "SSLError")?,
        certificate_error: of(&ssl, "CertificateError")?,
        states: of(&sslproto, "SSLProtocolState")?,
        create_transport_context: of(&sslproto, "_create_transport_context")?,
        add_flowcontrol_defaults: of(&sslproto, "add_flowcontrol_defaults")?,
        handshake_timeout: of(&constants, "SSL_HANDSHAKE_TIMEOUT")?,
        shutdown_timeout: of(&constants, "SSL_SHUTDOWN_TIMEOUT")?,
        high_water_read: kibibytes("FLOW_CONTROL_HIGH_WATER_SSL_READ")?,
        high_water_write: kibibytes("FLOW_CONTROL_HIGH_WATER_SSL_WRITE")?,
        closing_follows_transport: sslproto
            .getattr("SSLProtocol")?
            .hasattr("_is_transport_closing")?,
        ciphers: make::dict(py)?.unbind(),
        timeout_error: of(&exceptions, "TimeoutError")?,
        cancelled_error: of(&exceptions, "CancelledError")?,
    })
}
