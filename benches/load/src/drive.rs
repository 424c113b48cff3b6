//! The closed loop that both clients share: epoll, sockets, time.
//!
//! Each connection has at most one request under way. Level-triggered, one read per event and a
//! write as soon as there is something to say, so that the client costs as little as it can.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use serde_json::Value;

use crate::address::Address;
use crate::failure::Failure;
use crate::recorder::Recorder;
use crate::socket::Socket;
use crate::stop::Stop;
use crate::window::Window;

const READ_BUFFER: usize = 256 * 1024;
const STOP_TOKEN: u64 = u64::MAX;

/// How much load, for how long, on which server.
pub struct Load {
    /// The server.
    pub address: Address,
    /// Connections with a request under way.
    pub connections: usize,
    /// Further connections that are only held open.
    pub idle: usize,
    /// When to measure, and whose CPU time.
    pub window: Window,
}

/// One side of a conversation: what to send, and when the answer is complete.
pub trait Conversation {
    /// Whether a closed connection is an error to count (and to reconnect after) or the end.
    const RECONNECTS: bool;

    /// Prepares the next request.
    fn next(&mut self);
    /// The whole of the current request.
    fn request(&self) -> &[u8];
    /// Takes bytes of the answer.
    fn answer(&mut self, bytes: &[u8]) -> Result<Progress, Failure>;
}

/// How far an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Partial,
    /// Complete; the connection can carry the next request, or `last` says that it cannot.
    Complete { last: bool },
    /// Complete, but not the answer that was wanted.
    Refused { why: String, last: bool },
}

/// Runs one conversation per connection until the time is over or a signal comes.
pub fn run<C: Conversation>(load: &Load, make: impl Fn(usize) -> C) -> Result<Value, Failure> {
    let mut driver = Driver::connect(load, make)?;
    let stop = Stop::install()?;
    let watch = |error| Failure::io("cannot use epoll", error);
    epoll::add(
        &driver.poller,
        &stop,
        EventData::new_u64(STOP_TOKEN),
        EventFlags::IN,
    )
    .map_err(watch)?;

    let mut recorder = Recorder::new(&load.window)?;
    for index in 0..driver.connections.len() {
        driver.begin(index)?;
    }

    let mut events = Vec::with_capacity(1024);
    loop {
        let now = Instant::now();
        let Some(left) = recorder.left(now)? else {
            return recorder.report(now, false);
        };
        events.clear();
        let timeout = timespec(left);
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&driver.poller, spare, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(watch(error)),
        }
        for event in &events {
            match event.data.u64() {
                STOP_TOKEN => return recorder.report(Instant::now(), true),
                token => driver.turn(token as usize, &mut recorder)?,
            }
        }
    }
}

struct Connection<C> {
    socket: Socket,
    conversation: C,
    sent: usize,
    begun: Instant,
    waits_for_room: bool,
    served: bool,
}

struct Driver<'a, C> {
    load: &'a Load,
    poller: OwnedFd,
    connections: Vec<Connection<C>>,
    /// How many of them have not had an answer yet: until they have, the server is accepting.
    unserved: usize,
    /// Open, silent, and not in the epoll set: the server closes none of them.
    _idle: Vec<Socket>,
    buffer: Box<[u8]>,
}

impl<'a, C: Conversation> Driver<'a, C> {
    fn connect(load: &'a Load, make: impl Fn(usize) -> C) -> Result<Self, Failure> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::io("cannot use epoll", error))?;
        let mut connections = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            connections.push(Connection {
                socket: open(load, &poller, index)?,
                conversation: make(index),
                sent: 0,
                begun: Instant::now(),
                waits_for_room: false,
                served: false,
            });
        }
        let idle = (0..load.idle).map(|_| crate::hold::open(&load.address));
        Ok(Self {
            load,
            poller,
            unserved: load.connections,
            _idle: idle.collect::<Result<_, _>>()?,
            connections,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        })
    }

    /// Starts the next operation of a connection.
    fn begin(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        connection.conversation.next();
        connection.sent = 0;
        connection.begun = Instant::now();
        self.send(index)
    }

    /// Sends what the kernel takes; waits for room only while something is left.
    fn send(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let request = connection.conversation.request();
        while connection.sent < request.len() {
            let rest = &request[connection.sent..];
            match connection.socket.send(rest) {
                Ok(sent) => connection.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The end of the connection is seen, and answered, where it is read.
                Err(Errno::PIPE | Errno::CONNRESET) => break,
                Err(error) => return Err(Failure::io("cannot send", error)),
            }
        }
        let waits = connection.sent < request.len();
        if waits != connection.waits_for_room {
            connection.waits_for_room = waits;
            let wanted = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(&self.poller, &connection.socket, token(index), wanted)
                .map_err(|error| Failure::io("cannot use epoll", error))?;
        }
        Ok(())
    }

    /// One event of a connection.
    fn turn(&mut self, index: usize, recorder: &mut Recorder) -> Result<(), Failure> {
        if self.connections[index].waits_for_room {
            self.send(index)?;
        }
        loop {
            let connection = &mut self.connections[index];
            let length = match connection.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(Errno::CONNRESET | Errno::PIPE) => 0,
                Err(error) => return Err(Failure::io("cannot receive", error)),
            };
            if length == 0 {
                return self.hung_up(index, recorder);
            }
            match connection.conversation.answer(&self.buffer[..length])? {
                Progress::Partial if connection.socket.may_hold_more(length) => {}
                Progress::Partial => return Ok(()),
                Progress::Complete { last } => {
                    recorder.finished(connection.begun, Instant::now());
                    return self.begin_anew(index, last, recorder);
                }
                Progress::Refused { why, last } => {
                    recorder.failed(|| why);
                    return self.begin_anew(index, last, recorder);
                }
            }
        }
    }

    fn begin_anew(
        &mut self,
        index: usize,
        last: bool,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.connections[index].served, true) {
            self.unserved -= 1;
            if self.unserved == 0 {
                recorder.start(Instant::now());
            }
        }
        if last {
            self.reopen(index)?;
        }
        self.begin(index)
    }

    fn hung_up(&mut self, index: usize, recorder: &mut Recorder) -> Result<(), Failure> {
        let why = "the server closed a connection in the middle of an exchange";
        if !C::RECONNECTS {
            return Err(Failure::Peer(why.to_owned()));
        }
        recorder.failed(|| why.to_owned());
        self.reopen(index)?;
        self.begin(index)
    }

    fn reopen(&mut self, index: usize) -> Result<(), Failure> {
        let socket = open(self.load, &self.poller, index)?;
        let connection = &mut self.connections[index];
        // Closing the old socket takes it out of the epoll set. An event of it that is still in
        // this batch finds the new one, whose read then says EAGAIN.
        connection.socket = socket;
        connection.waits_for_room = false;
        Ok(())
    }
}

fn open(load: &Load, poller: &OwnedFd, index: usize) -> Result<Socket, Failure> {
    let socket = load.address.connect()?;
    epoll::add(poller, &socket, token(index), EventFlags::IN)
        .map_err(|error| Failure::io("cannot use epoll", error))?;
    Ok(socket)
}

fn token(index: usize) -> EventData {
    EventData::new_u64(index as u64)
}

/// A duration as epoll takes it.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
