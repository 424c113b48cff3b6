//! Visits: connect, send one request, read the answer to its end, close; again and again.
//!
//! The answer is the request's own bytes, after which the server closes. The server closes first,
//! so it is the one that remembers the connection (TIME_WAIT), and the client does not run out of
//! ports.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use serde_json::Value;

use crate::drive::{Load, timespec};
use crate::failure::Failure;
use crate::recorder::Recorder;
use crate::socket::Socket;
use crate::stop::Stop;

const STOP_TOKEN: u64 = u64::MAX;

/// Keeps `load.connections` visits of `size` bytes under way until the time is over.
pub fn run(load: &Load, size: usize) -> Result<Value, Failure> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(setup)?;
    let stop = Stop::install()?;
    let token = EventData::new_u64(STOP_TOKEN);
    epoll::add(&poller, &stop, token, EventFlags::IN).map_err(setup)?;
    let mut recorder = Recorder::new(&load.window)?;
    let mut visitors = Visitors {
        load,
        poller,
        request: (0..size).map(|at| (at % 251) as u8).collect(),
        visits: Vec::with_capacity(load.connections),
        before_start: load.connections,
        buffer: vec![0; 64 * 1024].into_boxed_slice(),
    };
    for index in 0..load.connections {
        let visit = visitors.open(index)?;
        visitors.visits.push(visit);
    }
    let mut events = Vec::with_capacity(1024);
    loop {
        let now = Instant::now();
        let Some(left) = recorder.left(now)? else {
            return finish(load, size, recorder.report(now, false)?);
        };
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&visitors.poller, spare, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(setup(error)),
        }
        for event in &events {
            match event.data.u64() {
                STOP_TOKEN => {
                    return finish(load, size, recorder.report(Instant::now(), true)?);
                }
                token => visitors.turn(token as usize, &mut recorder)?,
            }
        }
    }
}

fn finish(load: &Load, size: usize, mut report: Value) -> Result<Value, Failure> {
    report["mode"] = "visit".into();
    report["connections"] = load.connections.into();
    report["size"] = size.into();
    Ok(report)
}

fn setup(error: Errno) -> Failure {
    Failure::io("cannot use epoll", error)
}

struct Visit {
    socket: Socket,
    begun: Instant,
    sent: usize,
    returned: usize,
}

struct Visitors<'a> {
    load: &'a Load,
    poller: OwnedFd,
    request: Vec<u8>,
    visits: Vec<Visit>,
    /// So many visits have to end before the warm-up starts.
    before_start: usize,
    buffer: Box<[u8]>,
}

impl Visitors<'_> {
    fn open(&self, index: usize) -> Result<Visit, Failure> {
        let begun = Instant::now();
        let socket = self.load.address.begin_to_connect()?;
        let token = EventData::new_u64(index as u64);
        // Edge-triggered: a turn always goes on until AGAIN, and a handshake, which waits now for
        // the one and now for the other, needs no change of what is waited for.
        let wanted = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.poller, &socket, token, wanted).map_err(setup)?;
        Ok(Visit {
            socket,
            begun,
            sent: 0,
            returned: 0,
        })
    }

    fn turn(&mut self, index: usize, recorder: &mut Recorder) -> Result<(), Failure> {
        match self.proceed(index)? {
            Outcome::UnderWay => return Ok(()),
            Outcome::Done => recorder.finished(self.visits[index].begun, Instant::now()),
            Outcome::Failed(why) => recorder.failed(|| why),
        }
        if self.before_start > 0 {
            self.before_start -= 1;
            if self.before_start == 0 {
                recorder.start(Instant::now());
            }
        }
        self.visits[index] = self.open(index)?;
        Ok(())
    }

    fn proceed(&mut self, index: usize) -> Result<Outcome, Failure> {
        let visit = &mut self.visits[index];
        while visit.sent < self.request.len() {
            match visit.socket.send(&self.request[visit.sent..]) {
                Ok(sent) => visit.sent += sent,
                Err(Errno::AGAIN) => return Ok(Outcome::UnderWay),
                Err(Errno::INTR) => {}
                Err(error) => return Ok(Outcome::Failed(error.to_string())),
            }
        }
        loop {
            match visit.socket.recv(&mut self.buffer) {
                Ok(0) if visit.returned == self.request.len() => return Ok(Outcome::Done),
                Ok(0) => return Ok(Outcome::Failed("closed before the answer".to_owned())),
                Ok(length) => {
                    let rest = &self.request[visit.returned..];
                    if length > rest.len() || self.buffer[..length] != rest[..length] {
                        return Err(Failure::Peer("foreign byte in an answer".to_owned()));
                    }
                    visit.returned += length;
                }
                Err(Errno::AGAIN) => return Ok(Outcome::UnderWay),
                Err(Errno::INTR) => {}
                Err(error) => return Ok(Outcome::Failed(error.to_string())),
            }
        }
    }
}

enum Outcome {
    UnderWay,
    Done,
    Failed(String),
}
