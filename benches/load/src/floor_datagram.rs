//! The floor of UDP: one `recvfrom(2)` and one `sendto(2)` per datagram, no batching.

use std::net::{Ipv4Addr, UdpSocket};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::stop::Stop;

/// Datagrams taken before the signal is looked at again.
const TURN: usize = 64;

/// Serves on a free port of 127.0.0.1 until SIGTERM; tells `print` the port at the start.
pub fn run(print: impl Fn(&Value) -> Result<(), Failure>) -> Result<(), Failure> {
    let stop = Stop::install()?;
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    };
    let (socket, port) =
        open().map_err(|error: std::io::Error| Failure::io("cannot open a socket", error))?;
    print(&json!({ "port": port }))?;
    serve(&socket, &stop).map_err(|error| Failure::io("the floor server failed", error))
}

fn serve(socket: &UdpSocket, stop: &Stop) -> Result<(), Errno> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut waits = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match rustix::event::poll(&mut waits, None) {
            Ok(_) if !waits[1].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for _ in 0..TURN {
            match rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _, Some(sender))) => {
                    match rustix::net::sendto(
                        socket,
                        &buffer[..length],
                        SendFlags::empty(),
                        &sender,
                    ) {
                        // A full buffer drops the datagram, as the network would.
                        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
