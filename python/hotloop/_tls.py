"""`start_tls`; `_make_ssl_transport`, behind `ssl=` of every method that connects or serves, is native.

The protocol that stands between a transport and the program is native (`_core.SSLProtocol`). It
drives the OpenSSL that is inside the program's own `ssl.SSLObject`; where that cannot be done it
uses the object's methods. `HOTLOOP_TLS=direct` or `bio` forces one of the two engines, and
`transport.get_extra_info("tls_engine")` tells which one a connection has.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from ._state import LoopBase


class TlsMixin(LoopBase):
    """TLS connections (asyncio documentation, "TLS Upgrade" and the `ssl` arguments)."""

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
