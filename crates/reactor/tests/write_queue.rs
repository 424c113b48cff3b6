//! The write queue over a socket whose buffer is small: what goes in comes out, whole and in order.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use hotloop_reactor::WriteQueue;
use proptest::prelude::*;
use rustix::net::sockopt::set_socket_send_buffer_size;

fn small_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    set_socket_send_buffer_size(&near, 4096).unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

/// Read what is there, at most `limit` bytes.
fn read_some(far: &mut UnixStream, limit: usize, into: &mut Vec<u8>) {
    let mut buffer = vec![0; limit];
    match far.read(&mut buffer) {
        Ok(count) => into.extend_from_slice(&buffer[..count]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_out_are_bytes_in(
        first in (prop::collection::vec(any::<u8>(), 0..9000), any::<prop::sample::Index>()),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 0..150),
        flush_every in 1..40_usize,
        limit in 1..9000_usize,
    ) {
        let (near, mut far) = small_pair();
        let mut queue = WriteQueue::new();
        let sent = first.1.index(first.0.len() + 1);
        let (mut expected, mut received) = (first.0[sent..].to_vec(), Vec::new());
        queue.push_partly(first.0, sent);
        let mut flushed = 0;
        for (index, piece) in pieces.into_iter().enumerate() {
            expected.extend_from_slice(&piece);
            queue.push(piece);
            if index % flush_every == 0 {
                flushed += queue.flush(near.as_fd()).unwrap();
                read_some(&mut far, limit, &mut received);
            }
            prop_assert_eq!(queue.len(), expected.len() - flushed);
        }
        while received.len() < expected.len() {
            flushed += queue.flush(near.as_fd()).unwrap();
            prop_assert_eq!(queue.len(), expected.len() - flushed);
            read_some(&mut far, limit, &mut received);
        }
        prop_assert!(queue.is_empty());
        prop_assert!(queue.clear().is_empty());
        prop_assert_eq!(received, expected);
    }
}

#[test]
fn a_full_socket_takes_nothing_and_that_is_no_error() {
    let (near, _far) = small_pair();
    let mut queue = WriteQueue::new();
    queue.push(vec![0; 1 << 20]);
    let taken = queue.flush(near.as_fd()).unwrap();
    assert!(0 < taken && taken < 1 << 20, "{taken}");
    assert_eq!(queue.flush(near.as_fd()).unwrap(), 0);
    assert_eq!(queue.len(), (1 << 20) - taken);
}

#[test]
fn an_error_keeps_the_pieces_for_the_caller_to_drop() {
    let (near, far) = small_pair();
    drop(far);
    let mut queue = WriteQueue::new();
    queue.push_partly(b"one".as_slice(), 1);
    queue.push(b"two");
    let error = queue.flush(near.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(queue.len(), 5);
    assert_eq!(queue.clear(), [b"one", b"two"]);
    assert_eq!((queue.len(), queue.flush(near.as_fd()).unwrap()), (0, 0));
}

#[test]
fn what_was_sent_is_dropped_at_once() {
    struct Piece {
        _alive: Rc<()>,
    }
    impl AsRef<[u8]> for Piece {
        fn as_ref(&self) -> &[u8] {
            b"piece"
        }
    }
    let (near, mut far) = small_pair();
    let alive = Rc::new(());
    let mut queue = WriteQueue::new();
    (0..65).for_each(|_| {
        queue.push(Piece {
            _alive: Rc::clone(&alive),
        })
    });
    assert_eq!(
        queue.flush(near.as_fd()).unwrap(),
        64 * 5,
        "64 pieces go at once"
    );
    assert_eq!(Rc::strong_count(&alive), 1 + 1);
    assert_eq!(queue.flush(near.as_fd()).unwrap(), 5);
    assert_eq!(Rc::strong_count(&alive), 1);
    let mut received = Vec::new();
    read_some(&mut far, 1000, &mut received);
    assert_eq!(received, b"piece".repeat(65));
}

#[test]
fn empty_pieces_are_not_kept() {
    let (near, _far) = small_pair();
    let mut queue = WriteQueue::new();
    queue.push(b"".as_slice());
    queue.push_partly(b"gone", 4);
    assert!(queue.is_empty());
    assert_eq!(queue.flush(near.as_fd()).unwrap(), 0);
    assert!(queue.clear().is_empty());
}
