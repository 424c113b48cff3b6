//! The poller against the kernel: what is reported, when, and how much at a time.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hotloop_reactor::{Event, Events, Interest, Poller, Token, now_nanos};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn token(fd: RawFd) -> Token {
    Token::new(fd, 7)
}

fn add(poller: &Poller, stream: &impl AsRawFd, interest: Interest) {
    let fd = stream.as_raw_fd();
    poller.add(fd, token(fd), interest).unwrap();
}

#[test]
fn readiness_is_reported_until_it_is_used_up() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(8));
    add(&poller, &near, Interest::READ);
    assert_eq!(poller.wait(&mut events, AT_ONCE).unwrap(), 0);

    far.write_all(b"x").unwrap();
    let expected = Event {
        token: token(near.as_raw_fd()),
        readable: true,
        writable: false,
    };
    for _ in 0..2 {
        assert_eq!(poller.wait(&mut events, None).unwrap(), 1);
        assert_eq!(events.iter().collect::<Vec<_>>(), [expected]);
        assert_eq!(events.get(0), Some(expected));
    }
    near.read_exact(&mut [0]).unwrap();
    assert_eq!(poller.wait(&mut events, AT_ONCE).unwrap(), 0);
    assert!(events.is_empty());
}

#[test]
fn interest_selects_the_direction_and_can_change() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(8));
    let fd = near.as_raw_fd();
    add(&poller, &near, Interest::WRITE);
    let mut seen = Vec::new();
    for interest in [
        Interest::WRITE,
        Interest::READ,
        Interest::BOTH,
        Interest::NONE,
    ] {
        poller.modify(fd, token(fd), interest).unwrap();
        poller.wait(&mut events, AT_ONCE).unwrap();
        seen.push(events.get(0).map(|event| (event.readable, event.writable)));
    }
    let expected = [
        Some((false, true)),
        Some((true, false)),
        Some((true, true)),
        None,
    ];
    assert_eq!(seen, expected);
    poller.remove(fd).unwrap();
    assert_eq!(poller.wait(&mut events, AT_ONCE).unwrap(), 0);
}

#[test]
fn a_hang_up_wakes_both_directions() {
    for interest in [Interest::READ, Interest::WRITE] {
        let (near, far) = UnixStream::pair().unwrap();
        let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(8));
        add(&poller, &near, interest);
        drop(far);
        assert_eq!(poller.wait(&mut events, None).unwrap(), 1);
        let event = events.get(0).unwrap();
        assert!(event.readable && event.writable, "{event:?}");
    }
}

/// A lower bound is no bet on the machine's speed: a timer that fires early is a fault on any machine.
#[test]
fn a_wait_without_events_never_ends_early() {
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(1));
    for nanos in [1, 999, 250_000, 1_000_000, 1_000_001, 2_300_000] {
        let timeout = Duration::from_nanos(nanos);
        let before = now_nanos();
        assert_eq!(poller.wait(&mut events, Some(timeout)).unwrap(), 0);
        assert!(now_nanos() - before >= nanos, "{timeout:?} was cut short");
    }
}

#[test]
fn an_event_ends_a_wait_of_any_length() {
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(1));
    let (near, _far) = UnixStream::pair().unwrap();
    add(&poller, &near, Interest::WRITE);
    for timeout in [
        Duration::from_nanos(500_000),
        Duration::from_nanos(5_000_001),
        Duration::from_secs(3600),
        Duration::MAX,
    ] {
        assert_eq!(poller.wait(&mut events, Some(timeout)).unwrap(), 1);
    }
}

#[test]
fn a_full_buffer_grows_and_the_rest_is_reported_next_time() {
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(1));
    let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
    pairs
        .iter()
        .for_each(|(near, _)| add(&poller, near, Interest::WRITE));
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(poller.wait(&mut events, AT_ONCE).unwrap());
        assert_eq!(events.len(), *counts.last().unwrap());
    }
    assert_eq!(counts, [1, 2, 4, 8, 8]);
    assert_eq!(events.capacity(), 16);
    events.clear();
    assert_eq!(events.iter().count(), 0);
}

#[test]
fn a_buffer_without_room_is_given_some() {
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(0));
    assert_eq!(poller.wait(&mut events, AT_ONCE).unwrap(), 0);
}

#[test]
fn numbers_that_cannot_be_registered_are_answered_with_the_kernels_error() {
    let poller = Poller::new().unwrap();
    let errno = |fd| {
        let error = poller.add(fd, token(fd), Interest::READ).unwrap_err();
        error.raw_os_error().unwrap()
    };
    assert_eq!(errno(-1), 9, "EBADF");
    assert_eq!(errno(i32::MIN), 9, "EBADF");
    assert_eq!(errno(i32::MAX), 9, "EBADF");
    let file = std::fs::File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
    assert_eq!(errno(file.as_raw_fd()), 1, "EPERM");
    let (near, _far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    let error = poller.modify(fd, token(fd), Interest::READ).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(poller.remove(fd).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_poller_can_itself_be_polled() {
    let (outer, mut events) = (Poller::new().unwrap(), Events::with_capacity(1));
    let inner = Poller::new().unwrap();
    let fd = inner.raw_fd();
    outer.add(fd, token(fd), Interest::READ).unwrap();
    assert_eq!(outer.wait(&mut events, AT_ONCE).unwrap(), 0);
    let (near, _far) = UnixStream::pair().unwrap();
    add(&inner, &near, Interest::WRITE);
    assert_eq!(outer.wait(&mut events, None).unwrap(), 1);
    assert_eq!(events.get(0).unwrap().token, token(fd));
}
