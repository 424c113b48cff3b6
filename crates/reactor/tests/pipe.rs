//! Reading and writing pipes: kinds, the end, a full pipe, a broken one, a queue of pieces.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use hotloop_reactor::{PipeKind, WriteQueue, pipe_kind, read_pipe, write_pipe};
use rustix::pipe::{PipeFlags, pipe_with};

#[test]
fn kinds_are_told_apart() {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let device = File::open("/dev/null").unwrap();
    let file = File::open("/proc/self/exe").unwrap();
    let directory = File::open("/").unwrap();
    assert_eq!(pipe_kind(read.as_fd()).unwrap(), Some(PipeKind::Fifo));
    assert_eq!(pipe_kind(write.as_fd()).unwrap(), Some(PipeKind::Fifo));
    assert_eq!(pipe_kind(socket.as_fd()).unwrap(), Some(PipeKind::Socket));
    let device = pipe_kind(device.as_fd()).unwrap();
    assert_eq!(device, Some(PipeKind::CharacterDevice));
    assert_eq!(pipe_kind(file.as_fd()).unwrap(), None);
    assert_eq!(pipe_kind(directory.as_fd()).unwrap(), None);
}

#[test]
fn bytes_come_out_and_then_the_end() {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    let mut buf = [0; 16];
    let empty = read_pipe(read.as_fd(), &mut buf).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    assert_eq!(write_pipe(write.as_fd(), b"bytes").unwrap(), 5);
    assert_eq!(read_pipe(read.as_fd(), &mut buf).unwrap(), 5);
    assert_eq!(&buf[..5], b"bytes");
    drop(write);
    assert_eq!(read_pipe(read.as_fd(), &mut buf).unwrap(), 0);
}

#[test]
fn a_queue_of_pieces_fills_the_pipe_and_goes_on_where_it_stopped() {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    let pieces: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 3001]).collect();
    let mut queue = WriteQueue::new();
    for piece in pieces.clone() {
        queue.push(piece);
    }
    let mut received = Vec::new();
    let mut buf = [0; 10_000];
    while !queue.is_empty() {
        while queue.flush_pipe(write.as_fd()).unwrap() > 0 {}
        let count = read_pipe(read.as_fd(), &mut buf).unwrap();
        received.extend_from_slice(&buf[..count]);
    }
    drop(write);
    loop {
        match read_pipe(read.as_fd(), &mut buf).unwrap() {
            0 => break,
            count => received.extend_from_slice(&buf[..count]),
        }
    }
    assert_eq!(received, pieces.concat());
}

#[test]
fn a_queue_whose_reader_is_gone_keeps_its_pieces_and_says_so() {
    // Rust's start-up code ignores SIGPIPE, as Python's does.
    let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    drop(read);
    let mut queue = WriteQueue::new();
    queue.push(b"lost".to_vec());
    let error = queue.flush_pipe(write.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(queue.len(), 4);
}
