"""TLS: `_make_ssl_transport`, behind `ssl=` of every method that connects or serves, and `start_tls`.

The protocol that stands between a transport and the program is native (`_core.SSLProtocol`). It
drives the OpenSSL that is inside the program's own `ssl.SSLObject`; where that cannot be done it
uses the object's methods. `HOTLOOP_TLS=direct` or `bio` forces one of the two engines, and
`transport.get_extra_info("tls_engine")` tells which one a connection has.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextvars import Context
from typing import Any

from . import _core
from ._state import LoopBase


class TlsMixin(LoopBase):
    """TLS connections (asyncio documentation, "TLS Upgrade" and the `ssl` arguments)."""

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
    ) -> Any:
        """A TLS transport for a connected socket; `waiter` is told when the handshake is over.

        The timeouts are seconds, None for asyncio's defaults; ValueError if not positive.
        """
        ssl_protocol = self._make_tls_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        # `context` exists since 3.15. Not the hook: asyncio's own makes its socket transport directly here.
        options: Any = {} if context is None else {"context": context}
        _core.Loop._make_socket_transport(
            self, rawsock, ssl_protocol, extra=extra, server=server, **options
        )
        return ssl_protocol._app_transport

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Speak TLS over a transport from now on; return the transport to be used instead.

        Raises TypeError for a context or a transport that cannot be used, and what the handshake
        raises; the transport is closed then.
        """
        ssl = sys.modules.get("ssl")
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")

        waiter = self.create_future()
        ssl_protocol = self._make_tls_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing may be received before the TLS protocol knows its transport.
        transport.pause_reading()
        if server_side and isinstance(protocol, asyncio.StreamReaderProtocol):
            # What the client has sent early is its side of the handshake (gh-142352).
            received = getattr(getattr(protocol, "_stream_reader", None), "_buffer", None)
            if received:
                ssl_protocol._keep_received(received)
                received.clear()
        transport.set_protocol(ssl_protocol)
        made = self.call_soon(ssl_protocol.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            del waiter  # no cycle from the exception through this frame
            raise
        return ssl_protocol._app_transport
