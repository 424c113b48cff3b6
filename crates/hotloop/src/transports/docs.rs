//! The docstrings of the transports' public methods: what they take, in which units, what they raise, and where the
//! behaviour comes from. Each begins with the signature, as `inspect.signature` reads it.

use std::ffi::CStr;

pub(super) const WRITE: &CStr = c"write($self, /, data)
--

Send bytes; what the kernel does not take now is queued, and flow control counts it.

data is bytes, bytearray or memoryview; a mutable one may be changed after the call. Raises TypeError
for another type, RuntimeError after write_eof() or while loop.sendfile() uses the transport. A broken
connection is not raised: protocol.connection_lost() is told of it. As asyncio.WriteTransport.write().";

pub(super) const WRITELINES: &CStr = c"writelines($self, /, list_of_data)
--

Send the bytes-like objects of an iterable, in one system call where that is possible.

Raises what write() raises, and TypeError for what is not iterable. As
asyncio.WriteTransport.writelines(), by sendmsg(2).";

pub(super) const WRITE_EOF: &CStr = c"write_eof($self, /)
--

Close the writing side when what is queued was sent; receiving goes on.

Raises OSError as shutdown(2) does, RuntimeError while loop.sendfile() uses the transport. A second
call does nothing. As asyncio.WriteTransport.write_eof().";

pub(super) const CAN_WRITE_EOF: &CStr = c"can_write_eof($self, /)
--

Return True: write_eof() is possible. As asyncio.WriteTransport.can_write_eof().";

pub(super) const CLOSE: &CStr = c"close($self, /)
--

Stop receiving, and close when what is queued was sent.

protocol.connection_lost(None) is called in a later iteration of the loop, once. Raises nothing; a
second call does nothing. As asyncio.BaseTransport.close().";

pub(super) const ABORT: &CStr = c"abort($self, /)
--

Close at once: what is queued is lost.

protocol.connection_lost(None) is called in a later iteration of the loop, once. Raises nothing. As
asyncio.WriteTransport.abort().";

pub(super) const IS_CLOSING: &CStr = c"is_closing($self, /)
--

Return True if the transport is closing or closed. As asyncio.BaseTransport.is_closing().";

pub(super) const IS_READING: &CStr = c"is_reading($self, /)
--

Return True if the transport receives: it is open and not paused. As asyncio.ReadTransport.is_reading().";

pub(super) const PAUSE_READING: &CStr = c"pause_reading($self, /)
--

Give the protocol nothing more until resume_reading().

Does nothing if reading is paused, or the transport closing. Raises nothing of its own. As
asyncio.ReadTransport.pause_reading().";

pub(super) const RESUME_READING: &CStr = c"resume_reading($self, /)
--

Give the protocol what arrives again.

Does nothing if reading is not paused, or the transport closing. Raises nothing of its own. As
asyncio.ReadTransport.resume_reading().";

pub(super) const SET_PROTOCOL: &CStr = c"set_protocol($self, /, protocol)
--

Set another protocol, an asyncio.BaseProtocol, which gets what arrives from now on.

Its connection_made() is not called. As asyncio.BaseTransport.set_protocol().";

pub(super) const GET_PROTOCOL: &CStr = c"get_protocol($self, /)
--

Return the protocol, None after the end. As asyncio.BaseTransport.get_protocol().";

pub(super) const GET_EXTRA_INFO: &CStr = c"get_extra_info($self, /, name, default=None)
--

Return what is known under a name, a str; the default for an unknown one.

The names are those of asyncio's documentation of BaseTransport.get_extra_info(): socket, sockname,
peername; with TLS also ssl_object, sslcontext, peercert, cipher, compression, and our tls_engine.";

pub(super) const SET_LIMITS: &CStr = c"set_write_buffer_limits($self, /, high=None, low=None)
--

Set the marks of flow control, in bytes.

protocol.pause_writing() is called when more than high bytes wait, resume_writing() at low or less.
None means for high four times low, or 64 KiB if both are None; for low a quarter of high. Raises
ValueError unless high >= low >= 0. As asyncio.WriteTransport.set_write_buffer_limits().";

pub(super) const GET_LIMITS: &CStr = c"get_write_buffer_limits($self, /)
--

Return (low, high), the marks of flow control in bytes. As asyncio.WriteTransport.get_write_buffer_limits().";

pub(super) const GET_SIZE: &CStr = c"get_write_buffer_size($self, /)
--

Return the number of bytes that wait to be sent. As asyncio.WriteTransport.get_write_buffer_size().";

pub(super) const SENDTO: &CStr = c"sendto($self, /, data, addr=None)
--

Send a datagram; what the socket does not take now is queued.

data is bytes-like; addr is an address as the socket module has them, None for the peer of a connected
socket. Raises TypeError for other data, ValueError for an address that is not the peer's. An OSError
of send(2) goes to protocol.error_received(). As asyncio.DatagramTransport.sendto().";

pub(super) const GET_DATAGRAM_SIZE: &CStr = c"get_write_buffer_size($self, /)
--

Return the number of bytes that wait to be sent.

From Python 3.13 on each datagram counts 8 for its header. As
asyncio.WriteTransport.get_write_buffer_size().";

pub(super) const WRITE_PIPE: &CStr = c"write($self, /, data)
--

Write bytes; what the pipe does not take now is queued, and flow control counts it.

data is bytes, bytearray or memoryview. Raises AssertionError for another type. A pipe that nobody
reads is not raised: protocol.connection_lost() is told of it. As asyncio.WriteTransport.write().";

pub(super) const CLOSE_READ_PIPE: &CStr = c"close($self, /)
--

Stop reading and close the pipe.

protocol.connection_lost(None) is called in a later iteration of the loop, once. Raises nothing; a
second call does nothing. As asyncio.BaseTransport.close().";

pub(super) const CLOSE_WRITE_PIPE: &CStr = c"write_eof($self, /)
--

Close the transport when what is queued was written: the reader's end of file.

A second call does nothing. As asyncio.WriteTransport.write_eof().";

pub(super) const TLS_WRITE: &CStr = c"write($self, /, data)
--

Encrypt and send bytes; what does not leave at once is queued, and flow control counts it.

data is bytes, bytearray or memoryview. Raises TypeError for another type. A broken connection is not
raised: protocol.connection_lost() is told of it. As asyncio.WriteTransport.write().";

pub(super) const TLS_WRITELINES: &CStr = c"writelines($self, /, list_of_data)
--

Encrypt and send the bytes-like objects of an iterable, in one system call where that is possible.

Raises what write() raises. As asyncio.WriteTransport.writelines().";

pub(super) const TLS_WRITE_EOF: &CStr = c"write_eof($self, /)
--

Raise NotImplementedError: asyncio's TLS transports cannot close one side.";

pub(super) const TLS_CAN_WRITE_EOF: &CStr = c"can_write_eof($self, /)
--

Return False: see write_eof().";

pub(super) const TLS_CLOSE: &CStr = c"close($self, /)
--

Send what is queued, say goodbye to the peer (TLS's close_notify), and close.

protocol.connection_lost() is called once that is over, at the latest after ssl_shutdown_timeout
seconds. Raises nothing; a second call does nothing. As asyncio.BaseTransport.close().";

pub(super) const TLS_SET_READ_LIMITS: &CStr =
    c"set_read_buffer_limits($self, /, high=None, low=None)
--

Set the marks between which received data may wait, in bytes.

None means for high four times low, or 256 KiB if both are None; for low a quarter of high. Raises
ValueError unless high >= low >= 0. As the transport of asyncio.sslproto.";

pub(super) const TLS_GET_READ_LIMITS: &CStr = c"get_read_buffer_limits($self, /)
--

Return (low, high), the marks for received data in bytes. As the transport of asyncio.sslproto.";

pub(super) const TLS_GET_READ_SIZE: &CStr = c"get_read_buffer_size($self, /)
--

Return the number of bytes that were received and not decrypted. As the transport of asyncio.sslproto.";

pub(super) const TLS_GET_SIZE: &CStr = c"get_write_buffer_size($self, /)
--

Return the number of bytes that wait to be sent, in all layers: TLS's and the socket's transport's.

As asyncio.WriteTransport.get_write_buffer_size().";
