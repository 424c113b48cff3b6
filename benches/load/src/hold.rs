//! Connections that do nothing, so that what they cost the server can be looked at.

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::address::Address;
use crate::failure::Failure;
use crate::socket::Socket;
use crate::stop::Stop;

/// Opens `connections`, has each echo one byte, reports, and keeps them until SIGTERM.
///
/// After the echo the server has accepted the connection, set it up and served it: that is what an
/// idle connection is, where one that was never used may not have its buffers yet.
pub fn run(
    address: &Address,
    connections: usize,
    print: impl Fn(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stop = Stop::install()?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(open(address)?);
    }
    print(&json!({ "mode": "hold", "connections": held.len() }))?;
    wait(&stop, PollFlags::IN).map_err(|error| Failure::io("cannot wait", error))
}

/// A connection that has echoed a newline, which is a message to a server of lines too.
pub fn open(address: &Address) -> Result<Socket, Failure> {
    let mut socket = address.connect()?;
    exchange(&mut socket).map_err(|error| Failure::io("the first echo failed", error))?;
    Ok(socket)
}

fn exchange(socket: &mut Socket) -> Result<(), Errno> {
    while let Err(error) = socket.send(b"\n") {
        again(error)?;
        wait(socket, PollFlags::OUT)?;
    }
    let mut byte = [0];
    loop {
        match socket.recv(&mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(Errno::CONNRESET),
            Err(error) => again(error)?,
        }
        wait(socket, PollFlags::IN)?;
    }
}

fn again(error: Errno) -> Result<(), Errno> {
    match error {
        Errno::AGAIN | Errno::INTR => Ok(()),
        other => Err(other),
    }
}

fn wait(descriptor: &impl std::os::fd::AsFd, events: PollFlags) -> Result<(), Errno> {
    loop {
        match rustix::event::poll(&mut [PollFd::new(descriptor, events)], None) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}
