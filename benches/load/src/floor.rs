//! The floor: an echo server with nothing between it and epoll.
//!
//! No loop on plain sockets can spend less than this does. One thread, level-triggered, one
//! `recv(2)` and one `send(2)` per message; it stops reading while the peer does not.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::stop::Stop;

const READ_BUFFER: usize = 256 * 1024;
const STOP_TOKEN: u64 = u64::MAX;
const LISTENER_TOKEN: u64 = u64::MAX - 1;

/// Serves until SIGTERM. Tells `print` its port at the start and its CPU time at the end.
pub fn run(
    unix: Option<&Path>,
    print: impl Fn(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stop = Stop::install()?;
    let (listener, ready) = listen(unix).map_err(|error| Failure::io("cannot listen", error))?;
    let mut server = Server::new(listener).map_err(setup)?;
    epoll::add(
        &server.poller,
        &stop,
        EventData::new_u64(STOP_TOKEN),
        EventFlags::IN,
    )
    .map_err(setup)?;
    let begun = cpu_seconds();
    print(&ready)?;
    let served = server.serve();
    if let Some(path) = unix {
        // A socket file without its server would only make the next bind fail.
        let _ = std::fs::remove_file(path);
    }
    served.map_err(|error| Failure::io("the floor server failed", error))?;
    print(&json!({ "cpu_seconds": cpu_seconds() - begun }))
}

fn setup(error: Errno) -> Failure {
    Failure::io("cannot use epoll", error)
}

fn listen(unix: Option<&Path>) -> std::io::Result<(OwnedFd, Value)> {
    if let Some(path) = unix {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        return Ok((listener.into(), json!({ "path": path.to_string_lossy() })));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((listener.into(), json!({ "port": port })))
}

struct Connection {
    socket: OwnedFd,
    /// What the peer has not taken yet; reading pauses while there is any.
    unsent: Vec<u8>,
}

struct Server {
    poller: OwnedFd,
    listener: OwnedFd,
    /// The index is the token. A slot freed in a batch may be taken again in the same one: a late
    /// event then meets a socket that answers EAGAIN.
    connections: Vec<Option<Connection>>,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl Server {
    fn new(listener: OwnedFd) -> Result<Self, Errno> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &poller,
            &listener,
            EventData::new_u64(LISTENER_TOKEN),
            EventFlags::IN,
        )?;
        let buffer = Box::new_uninit_slice(READ_BUFFER);
        Ok(Self {
            poller,
            listener,
            connections: Vec::new(),
            buffer,
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
        let free = self.connections.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
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
        let alive = if connection.unsent.is_empty() {
            connection.echo(&mut self.buffer)
        } else {
            connection.flush()
        };
        match alive {
            Ok(Turn::Same) => Ok(()),
            Ok(Turn::Wants(flags)) => {
                let token = EventData::new_u64(index as u64);
                epoll::modify(&self.poller, &connection.socket, token, flags)
            }
            Ok(Turn::Closed) | Err(Errno::CONNRESET | Errno::PIPE) => {
                self.connections[index] = None;
                Ok(())
            }
            Err(error) => Err(error),
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
    fn echo(&mut self, buffer: &mut [MaybeUninit<u8>]) -> Result<Turn, Errno> {
        let bytes: &[u8] = match rustix::net::recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok(((bytes, _), _)) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Turn::Same),
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok(Turn::Closed);
        }
        let sent = send(&self.socket, bytes)?;
        if sent == bytes.len() {
            return Ok(Turn::Same);
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(Turn::Wants(EventFlags::OUT))
    }

    fn flush(&mut self) -> Result<Turn, Errno> {
        let sent = send(&self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(if self.unsent.is_empty() {
            Turn::Wants(EventFlags::IN)
        } else {
            Turn::Same
        })
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

/// User and system time of this process so far (`CLOCK_PROCESS_CPUTIME_ID`, clock_gettime(2)).
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
