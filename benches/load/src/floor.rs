//! The floor: a server with nothing between it and epoll.
//!
//! No loop on plain sockets can spend less than this does. One thread, level-triggered, one
//! `recv(2)` and one `send(2)` per message; it stops reading while the peer does not. It echoes
//! what comes, or gives every piece that comes the same HTTP answer; with TLS it is what a plain
//! program over OpenSSL with its socket BIOs costs.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::socket::Socket;
use crate::stop::Stop;

const READ_BUFFER: usize = 256 * 1024;
/// As many connections may wait to be accepted as at the servers that this one is compared with; the
/// standard library's listener has room for 128, beyond which a client waits a second to try again.
const BACKLOG: i32 = 2048;
const STOP_TOKEN: u64 = u64::MAX;
const LISTENER_TOKEN: u64 = u64::MAX - 1;

/// What a well-behaved client sends is one request a piece, so a piece is answered with this.
const HTTP_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
Content-Length: 13\r\n\r\nHello, world!";

/// What to serve, and where.
#[derive(Default)]
pub struct Floor {
    /// A path, instead of a free TCP port of 127.0.0.1.
    pub unix: Option<PathBuf>,
    /// A PEM file with a key and its certificate: serve TLS.
    pub tls: Option<PathBuf>,
    /// Answer as an HTTP server, instead of echoing.
    pub http: bool,
    /// Close each connection after the first answer.
    pub once: bool,
}

/// Serves until SIGTERM. Tells `print` its port or path at the start.
pub fn run(floor: &Floor, print: impl Fn(&Value) -> Result<(), Failure>) -> Result<(), Failure> {
    let stop = Stop::install()?;
    let (listener, ready) = listen(floor).map_err(|error| Failure::io("cannot listen", error))?;
    let wrap = wrapper(floor)?;
    let mut server = Server::new(listener, floor, wrap).map_err(setup)?;
    epoll::add(
        &server.poller,
        &stop,
        EventData::new_u64(STOP_TOKEN),
        EventFlags::IN,
    )
    .map_err(setup)?;
    print(&ready)?;
    let served = server.serve();
    if let Some(path) = &floor.unix {
        // A socket file without its server would only make the next bind fail.
        let _ = std::fs::remove_file(path);
    }
    served.map_err(|error| Failure::io("the floor server failed", error))
}

/// Makes a `Socket` of one that was accepted.
type Wrap = Box<dyn Fn(OwnedFd) -> std::io::Result<Socket>>;

fn wrapper(floor: &Floor) -> Result<Wrap, Failure> {
    let Some(file) = &floor.tls else {
        return Ok(Box::new(|socket| Ok(Socket::Plain(socket))));
    };
    #[cfg(feature = "tls")]
    {
        let context = crate::tls::server_context(file)
            .map_err(|error| Failure::io(format!("cannot use {}", file.display()), error))?;
        Ok(Box::new(move |socket| {
            crate::tls::server(&context, socket.into()).map(Socket::Tls)
        }))
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = file;
        Err(Failure::without_tls())
    }
}

fn setup(error: Errno) -> Failure {
    Failure::io("cannot use epoll", error)
}

fn listen(floor: &Floor) -> std::io::Result<(OwnedFd, Value)> {
    if let Some(path) = &floor.unix {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        return Ok((listener.into(), json!({ "path": path.to_string_lossy() })));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, BACKLOG)?;
    let port = listener.local_addr()?.port();
    Ok((listener.into(), json!({ "port": port })))
}

struct Connection {
    socket: Socket,
    /// What the peer has not taken yet; reading pauses while there is any.
    unsent: Vec<u8>,
}

struct Server<'a> {
    floor: &'a Floor,
    wrap: Wrap,
    poller: OwnedFd,
    listener: OwnedFd,
    /// The index is the token. A slot freed in a batch may be taken again in the same one: a late
    /// event then meets a socket that answers EAGAIN.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
}

impl<'a> Server<'a> {
    fn new(listener: OwnedFd, floor: &'a Floor, wrap: Wrap) -> Result<Self, Errno> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &poller,
            &listener,
            EventData::new_u64(LISTENER_TOKEN),
            EventFlags::IN,
        )?;
        Ok(Self {
            floor,
            wrap,
            poller,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        })
    }

    fn serve(&mut self) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(
                &self.poller,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            for event in &events {
                match event.data.u64() {
                    STOP_TOKEN => return Ok(()),
                    LISTENER_TOKEN => self.accept()?,
                    token => self.turn(token as usize)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<(), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error),
        };
        match rustix::net::sockopt::set_tcp_nodelay(&socket, true) {
            // A Unix socket has no such option, and no such delay.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOPROTOOPT) => {}
            Err(error) => return Err(error),
        }
        let Ok(socket) = (self.wrap)(socket) else {
            return Ok(());
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        epoll::add(
            &self.poller,
            &socket,
            EventData::new_u64(index as u64),
            EventFlags::IN,
        )?;
        self.connections[index] = Some(Connection {
            socket,
            unsent: Vec::new(),
        });
        Ok(())
    }

    fn turn(&mut self, index: usize) -> Result<(), Errno> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        let turn = if connection.unsent.is_empty() {
            connection.answer(&mut self.buffer, self.floor)
        } else {
            connection.flush()
        };
        match turn {
            Ok(Turn::Same) => Ok(()),
            Ok(Turn::Wants(flags)) => {
                let token = EventData::new_u64(index as u64);
                epoll::modify(&self.poller, &connection.socket, token, flags)
            }
            // Whatever is wrong with one connection ends that connection.
            Ok(Turn::Closed) | Err(_) => {
                self.connections[index] = None;
                self.free.push(index);
                Ok(())
            }
        }
    }
}

/// What a connection needs after its turn.
enum Turn {
    Same,
    Wants(EventFlags),
    Closed,
}

impl Connection {
    fn answer(&mut self, buffer: &mut [u8], floor: &Floor) -> Result<Turn, Errno> {
        loop {
            let length = match self.socket.recv(buffer) {
                Ok(0) => return Ok(Turn::Closed),
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Turn::Same),
                Err(error) => return Err(error),
            };
            let bytes = if floor.http {
                HTTP_ANSWER
            } else {
                &buffer[..length]
            };
            let sent = send_all(&mut self.socket, bytes)?;
            if sent < bytes.len() {
                self.unsent.extend_from_slice(&bytes[sent..]);
                return Ok(Turn::Wants(EventFlags::OUT));
            }
            if floor.once {
                return Ok(Turn::Closed);
            }
            if !self.socket.may_hold_more(length) {
                return Ok(Turn::Same);
            }
        }
    }

    fn flush(&mut self) -> Result<Turn, Errno> {
        let sent = send_all(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(if self.unsent.is_empty() {
            Turn::Wants(EventFlags::IN)
        } else {
            Turn::Same
        })
    }
}

/// Sends until all is gone or nothing fits; a TLS record is one `send`.
fn send_all(socket: &mut Socket, bytes: &[u8]) -> Result<usize, Errno> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.send(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
