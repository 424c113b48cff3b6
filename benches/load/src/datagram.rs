//! UDP: every socket keeps some datagrams in flight, each of which has to come back.
//!
//! Loopback drops a datagram when the receiver's buffer is full. One that has not come back in
//! `LOST_AFTER` is counted as an error and replaced, so that a run does not dry up.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde_json::Value;

use crate::drive::timespec;
use crate::failure::Failure;
use crate::recorder::Recorder;
use crate::stop::Stop;
use crate::window::Window;

const STOP_TOKEN: u64 = u64::MAX;
const LOST_AFTER: Duration = Duration::from_millis(200);
/// The bytes of a sequence number and of the place of its datagram among those in flight.
pub const STAMP: usize = 16;

/// What to send where.
pub struct Datagrams {
    /// The server.
    pub address: SocketAddr,
    /// Sockets, each connected to it.
    pub sockets: usize,
    /// Datagrams under way on each socket.
    pub in_flight: usize,
    /// The bytes of one, at least `STAMP`.
    pub size: usize,
    /// When to measure, and whose CPU time.
    pub window: Window,
}

/// Sends until the time is over or a signal comes.
pub fn run(load: &Datagrams) -> Result<Value, Failure> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(setup)?;
    let stop = Stop::install()?;
    let token = EventData::new_u64(STOP_TOKEN);
    epoll::add(&poller, &stop, token, EventFlags::IN).map_err(setup)?;
    let mut flights = Vec::with_capacity(load.sockets);
    for index in 0..load.sockets {
        let flight = Flight::open(load, index)?;
        let token = EventData::new_u64(index as u64);
        epoll::add(&poller, &flight.socket, token, EventFlags::IN).map_err(setup)?;
        flights.push(flight);
    }
    let mut recorder = Recorder::new(&load.window)?;
    recorder.start(Instant::now());
    for flight in &mut flights {
        for place in 0..load.in_flight {
            flight.send(place)?;
        }
    }
    let mut events = Vec::with_capacity(1024);
    let mut next_search = Instant::now() + LOST_AFTER;
    loop {
        let now = Instant::now();
        let Some(left) = recorder.left(now)? else {
            return finish(load, recorder.report(now, false)?);
        };
        if now >= next_search {
            next_search = now + LOST_AFTER;
            for flight in &mut flights {
                flight.replace_lost(now, &mut recorder)?;
            }
        }
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&poller, spare, Some(&timespec(left.min(LOST_AFTER)))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(setup(error)),
        }
        for event in &events {
            match event.data.u64() {
                STOP_TOKEN => return finish(load, recorder.report(Instant::now(), true)?),
                token => flights[token as usize].turn(&mut recorder)?,
            }
        }
    }
}

fn finish(load: &Datagrams, mut report: Value) -> Result<Value, Failure> {
    report["mode"] = "udp".into();
    report["connections"] = load.sockets.into();
    report["in_flight"] = load.in_flight.into();
    report["size"] = load.size.into();
    Ok(report)
}

fn setup(error: Errno) -> Failure {
    Failure::io("cannot use epoll", error)
}

struct Flight {
    socket: OwnedFd,
    message: Vec<u8>,
    sequence: u64,
    /// The sequence number that each place waits for, and when it was sent.
    places: Vec<(u64, Instant)>,
    buffer: Vec<u8>,
}

impl Flight {
    fn open(load: &Datagrams, index: usize) -> Result<Self, Failure> {
        let open = || {
            let family = match load.address {
                SocketAddr::V4(_) => AddressFamily::INET,
                SocketAddr::V6(_) => AddressFamily::INET6,
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
            if load.address.is_ipv4() {
                rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            }
            rustix::net::connect(&socket, &load.address)?;
            Ok(socket)
        };
        let socket = open().map_err(|error: Errno| Failure::io("cannot open a socket", error))?;
        Ok(Self {
            socket,
            message: (0..load.size)
                .map(|at| ((at + index * 7) % 251) as u8)
                .collect(),
            sequence: 0,
            places: vec![(0, Instant::now()); load.in_flight],
            buffer: vec![0; load.size + 1],
        })
    }

    fn send(&mut self, place: usize) -> Result<(), Failure> {
        self.sequence += 1;
        self.message[..8].copy_from_slice(&self.sequence.to_le_bytes());
        self.message[8..STAMP].copy_from_slice(&(place as u64).to_le_bytes());
        self.places[place] = (self.sequence, Instant::now());
        match rustix::net::send(&self.socket, &self.message, SendFlags::empty()) {
            // What does not fit is lost, and found to be so later.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(()),
            Err(error) => Err(Failure::io("cannot send", error)),
        }
    }

    /// One event: takes what is there, up to all that is in flight.
    fn turn(&mut self, recorder: &mut Recorder) -> Result<(), Failure> {
        for _ in 0..self.places.len() {
            let received = rustix::net::recv(&self.socket, &mut self.buffer, RecvFlags::empty());
            let length = match received {
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(Failure::io("cannot receive", error)),
            };
            if length != self.message.len() || self.buffer[STAMP..length] != self.message[STAMP..] {
                return Err(Failure::Peer(
                    "a datagram came back that was not sent".to_owned(),
                ));
            }
            let place = number(&self.buffer[8..STAMP]) as usize;
            match self.places.get(place) {
                Some(&(sequence, begun)) if sequence == number(&self.buffer[..8]) => {
                    recorder.finished(begun, Instant::now());
                    self.send(place)?;
                }
                Some(_) => {} // counted as lost before, and replaced
                None => {
                    return Err(Failure::Peer("foreign byte in a datagram".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn replace_lost(&mut self, now: Instant, recorder: &mut Recorder) -> Result<(), Failure> {
        for place in 0..self.places.len() {
            if now.saturating_duration_since(self.places[place].1) > LOST_AFTER {
                recorder.failed(|| "a datagram was lost".to_owned());
                self.send(place)?;
            }
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
