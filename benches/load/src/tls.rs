//! TLS by the system's OpenSSL, on both sides.
//!
//! `SSL_CTX_set_read_ahead(3)` lets one `read(2)` fetch a record with its header, where OpenSSL
//! would make two of it. The client verifies nothing: it measures a server on its own machine.

use std::net::TcpStream;
use std::path::Path;

use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslStream,
    SslVerifyMode,
};
use rustix::io::Errno;

/// A TLS connection over a TCP socket.
pub type Stream = SslStream<TcpStream>;

/// The most that one TLS record carries (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

/// A context for connections to the server under test.
pub fn client_context() -> std::io::Result<SslContext> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    prepare(&mut builder);
    Ok(builder.build())
}

/// A context for the floor server; `file` holds its key and its certificate, in PEM.
pub fn server_context(file: &Path) -> std::io::Result<SslContext> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
    builder.set_private_key_file(file, SslFiletype::PEM)?;
    builder.set_certificate_chain_file(file)?;
    prepare(&mut builder);
    Ok(builder.build())
}

fn prepare(builder: &mut SslContextBuilder) {
    builder.set_read_ahead(true);
    builder.set_mode(
        SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::RELEASE_BUFFERS,
    );
}

/// The client's side of a connection; the handshake is done by the first `send` or `recv`.
pub fn client(context: &SslContext, socket: TcpStream) -> std::io::Result<Box<Stream>> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_connect_state();
    Ok(Box::new(SslStream::new(ssl, socket)?))
}

/// The server's side of a connection; the handshake is done by the first `send` or `recv`.
pub fn server(context: &SslContext, socket: TcpStream) -> std::io::Result<Box<Stream>> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_accept_state();
    Ok(Box::new(SslStream::new(ssl, socket)?))
}

/// Does the whole handshake of a socket that blocks.
pub fn shake_hands(stream: &mut Stream) -> std::io::Result<()> {
    stream.do_handshake().map_err(std::io::Error::other)
}

/// As `Socket::recv`.
pub fn recv(stream: &mut Stream, buffer: &mut [u8]) -> Result<usize, Errno> {
    stream.ssl_read(buffer).or_else(|error| errno(&error))
}

/// As `Socket::send`.
pub fn send(stream: &mut Stream, bytes: &[u8]) -> Result<usize, Errno> {
    stream
        .ssl_write(bytes)
        .or_else(|error| match errno(&error) {
            Ok(_) => Err(Errno::PIPE),
            other => other,
        })
}

/// A full record can have another behind it; a shorter one ends a message of our clients.
pub fn may_hold_more(length: usize) -> bool {
    length.is_multiple_of(RECORD)
}

/// The end of the stream is `Ok(0)`; an alert, or a close without one, counts as an end too.
fn errno(error: &openssl::ssl::Error) -> Result<usize, Errno> {
    match error.code() {
        ErrorCode::ZERO_RETURN => Ok(0),
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Err(Errno::AGAIN),
        ErrorCode::SYSCALL => match error.io_error().and_then(std::io::Error::raw_os_error) {
            Some(number) => Err(Errno::from_raw_os_error(number)),
            None => Ok(0),
        },
        _ if unexpected_end(error) => Ok(0),
        _ => Err(Errno::PROTO),
    }
}

/// OpenSSL 3 reports a close without `close_notify` as an error of its own.
fn unexpected_end(error: &openssl::ssl::Error) -> bool {
    error.ssl_error().is_some_and(|stack| {
        stack
            .errors()
            .iter()
            .any(|one| one.reason() == Some("unexpected eof while reading"))
    })
}
