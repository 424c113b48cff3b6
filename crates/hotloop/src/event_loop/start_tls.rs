//! TLS: making the protocol that stands between a transport and the program, and the buffer for its records.
//!
//! `start_tls` itself is in `python/hotloop/_tls.py`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::transports::tls::{Options, new_protocol};

use super::Loop;

/// A buffer that has grown beyond this for one large write is not kept, in bytes.
const KEPT: usize = 512 * 1024;

#[pymethods]
impl Loop {
    /// Make a TLS transport for a connected socket; `waiter` is told when the handshake is over.
    ///
    /// The timeouts are seconds, None for asyncio's defaults; ValueError if not positive.
    #[pyo3(signature = (rawsock, protocol, sslcontext, waiter=None, *, server_side=false, server_hostname=None,
                        extra=None, server=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None))]
    #[allow(clippy::too_many_arguments)] // asyncio's
    fn _make_ssl_transport<'py>(
        slf: &Bound<'py, Self>,
        rawsock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        sslcontext: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        server_side: bool,
        server_hostname: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
        ssl_handshake_timeout: Option<&Bound<'py, PyAny>>,
        ssl_shutdown_timeout: Option<&Bound<'py, PyAny>>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tls = Self::_make_tls_protocol(
            slf,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            true,
        )?;
        // Not the hook: asyncio's own makes its socket transport directly here.
        Self::_make_socket_transport(slf, rawsock, &tls, None, extra, server, context)?;
        tls.getattr(intern!(slf.py(), "_app_transport"))
    }

    /// Make a TLS protocol, with its transport, for a transport that does not know of it yet.
    #[pyo3(signature = (protocol, sslcontext, waiter, server_side=false, server_hostname=None,
                        ssl_handshake_timeout=None, ssl_shutdown_timeout=None, call_connection_made=true))]
    #[allow(clippy::too_many_arguments)] // asyncio's
    fn _make_tls_protocol<'py>(
        slf: &Bound<'py, Self>,
        protocol: &Bound<'py, PyAny>,
        sslcontext: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        server_side: bool,
        server_hostname: Option<&Bound<'py, PyAny>>,
        ssl_handshake_timeout: Option<&Bound<'py, PyAny>>,
        ssl_shutdown_timeout: Option<&Bound<'py, PyAny>>,
        call_connection_made: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        new_protocol(
            slf,
            &Options {
                protocol,
                context: sslcontext,
                waiter,
                accepted: false,
                server_side,
                server_hostname,
                handshake_timeout: ssl_handshake_timeout,
                shutdown_timeout: ssl_shutdown_timeout,
                call_connection_made,
            },
        )
    }
}

impl Loop {
    /// Lends the buffer that TLS connections encrypt into, empty; while it is lent, others get new ones.
    pub(crate) fn take_record_buffer(&self) -> Vec<u8> {
        self.record_buffer.take()
    }

    /// Takes the buffer back, empty.
    pub(crate) fn return_record_buffer(&self, buffer: Vec<u8>) {
        debug_assert!(
            buffer.is_empty(),
            "records would be sent to another connection"
        );
        if buffer.capacity() <= KEPT {
            self.record_buffer.set(buffer);
        }
    }
}
