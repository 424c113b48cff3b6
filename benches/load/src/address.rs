//! Where the server is, and how to get a non-blocking connection to it.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::failure::Failure;

/// A loopback server that needs longer than this to accept is not being measured but debugged.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A TCP `host:port` or the path of a Unix socket.
#[derive(Debug)]
pub enum Address {
    /// `host:port`, resolved at each connect.
    Tcp(String),
    /// A file-system path.
    Unix(PathBuf),
}

impl Address {
    /// Connects (blocking), then makes the socket non-blocking, without Nagle's delay on TCP.
    pub fn connect(&self) -> Result<OwnedFd, Failure> {
        match self {
            Self::Tcp(name) => tcp(name),
            Self::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_nonblocking(true)?;
                Ok(OwnedFd::from(stream))
            }),
        }
        .map_err(|error| Failure::io(format!("cannot connect to {self}"), error))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn tcp(name: &str) -> std::io::Result<OwnedFd> {
    let address = name.to_socket_addrs()?.next().ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")
    })?;
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(OwnedFd::from(stream))
}
