//! Where the server is, and how to get a non-blocking connection to it.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::failure::Failure;
use crate::socket::Socket;

/// A loopback server that needs longer than this to accept is not being measured but debugged.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What there is to connect to.
pub struct Address {
    place: Place,
    #[cfg(feature = "tls")]
    tls: Option<openssl::ssl::SslContext>,
}

/// A TCP address or the path of a Unix socket.
#[derive(Debug, Clone)]
pub enum Place {
    /// Host and port, resolved.
    Tcp(SocketAddr),
    /// A file-system path.
    Unix(PathBuf),
}

impl Address {
    /// Connections to `place` without TLS.
    pub fn plain(place: Place) -> Self {
        Self {
            place,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Connections to `place`, with TLS over them.
    #[cfg(feature = "tls")]
    pub fn tls(place: Place) -> Result<Self, Failure> {
        let context = crate::tls::client_context()
            .map_err(|error| Failure::io("cannot set up TLS", error))?;
        Ok(Self {
            place,
            tls: Some(context),
        })
    }

    /// Says that this program was built without TLS.
    #[cfg(not(feature = "tls"))]
    pub fn tls(_place: Place) -> Result<Self, Failure> {
        Err(Failure::without_tls())
    }

    /// Connects and shakes hands (blocking), then makes the socket non-blocking, without Nagle's
    /// delay on TCP.
    pub fn connect(&self) -> Result<Socket, Failure> {
        self.connect_now()
            .map_err(|error| Failure::io(format!("cannot connect to {self}"), error))
    }

    fn connect_now(&self) -> std::io::Result<Socket> {
        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                #[cfg(feature = "tls")]
                if let Some(context) = &self.tls {
                    let mut stream = crate::tls::client(context, stream)?;
                    crate::tls::shake_hands(&mut stream)?;
                    stream.get_ref().set_nonblocking(true)?;
                    return Ok(Socket::Tls(stream));
                }
                stream.set_nonblocking(true)?;
                Ok(Socket::Plain(stream.into()))
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Socket::Plain(stream.into()))
            }
        }
    }

    /// Begins to connect. The socket is writable when that is done; a failure shows in its first
    /// `send`.
    pub fn begin_to_connect(&self) -> Result<Socket, Failure> {
        self.begin_now()
            .map_err(|error| Failure::io(format!("cannot connect to {self}"), error))
    }

    fn begin_now(&self) -> std::io::Result<Socket> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let address = match &self.place {
            Place::Tcp(address) => address,
            // A Unix socket connects at once or not at all: there is nothing to wait for.
            Place::Unix(_) => return self.connect_now(),
        };
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.wrap(socket)
    }

    #[cfg(feature = "tls")]
    fn wrap(&self, socket: OwnedFd) -> std::io::Result<Socket> {
        Ok(match &self.tls {
            Some(context) => Socket::Tls(crate::tls::client(context, socket.into())?),
            None => Socket::Plain(socket),
        })
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // the other one can fail
    fn wrap(&self, socket: OwnedFd) -> std::io::Result<Socket> {
        Ok(Socket::Plain(socket))
    }
}

impl Place {
    /// The first address that `host:port` stands for.
    pub fn tcp(name: &str) -> Result<Self, Failure> {
        Ok(Self::Tcp(resolve(name)?))
    }
}

/// The first address that `host:port` stands for.
pub fn resolve(name: &str) -> Result<SocketAddr, Failure> {
    name.to_socket_addrs()
        .and_then(|mut found| {
            found.next().ok_or_else(|| {
                std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")
            })
        })
        .map_err(|error| Failure::io(format!("cannot resolve {name}"), error))
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Tcp(address) => write!(f, "{address}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
