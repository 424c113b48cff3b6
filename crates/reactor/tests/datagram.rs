//! Batches of datagrams over real sockets: order, senders, sizes, errors.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use hotloop_reactor::{Address, MOST_SENT, Outgoing, ReceiveBatch, UnixName, send_batch};
use rustix::io::Errno;

/// More than a message can have.
const MOST: usize = 1 << 20;

fn address(of: &UdpSocket) -> Address {
    match of.local_addr().unwrap() {
        SocketAddr::V4(v4) => Address::V4(v4),
        SocketAddr::V6(v6) => Address::V6(v6),
    }
}

fn all(batch: &mut ReceiveBatch) -> Vec<(Vec<u8>, Option<Address>)> {
    let mut taken = Vec::new();
    while let Some((data, sender)) = batch.take_next() {
        taken.push((data.to_vec(), sender));
    }
    taken
}

#[test]
fn a_batch_keeps_order_lengths_and_senders() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let receiver = UdpSocket::bind(host).unwrap();
        let senders = [
            UdpSocket::bind(host).unwrap(),
            UdpSocket::bind(host).unwrap(),
        ];
        let to = address(&receiver);
        let mut expected = Vec::new();
        for length in [0_usize, 1, 64, 1500, 65_000] {
            for sender in &senders {
                let data = vec![length.to_le_bytes()[0]; length];
                let message = Outgoing {
                    data: &data,
                    to: Some(&to),
                };
                assert_eq!(send_batch(sender.as_fd(), &[message]).unwrap(), 1);
                expected.push((data, Some(address(sender))));
            }
        }
        let mut batch = ReceiveBatch::new();
        assert_eq!(batch.receive(receiver.as_fd(), true, 4, MOST).unwrap(), 4);
        let mut taken = all(&mut batch);
        assert_eq!(batch.receive(receiver.as_fd(), true, 64, MOST).unwrap(), 6);
        assert_eq!(batch.remaining(), 6);
        taken.extend(all(&mut batch));
        assert_eq!(taken, expected);
        let error = batch.receive(receiver.as_fd(), true, 1, MOST).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(batch.take_next().is_none());
    }
}

#[test]
fn no_more_than_a_batch_leaves_in_one_call() {
    let (near, far) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    near.connect(far.local_addr().unwrap()).unwrap();
    let bytes: Vec<[u8; 1]> = (0..20).map(|number| [number]).collect();
    let messages: Vec<_> = bytes
        .iter()
        .map(|data| Outgoing { data, to: None })
        .collect();
    assert_eq!(send_batch(near.as_fd(), &messages).unwrap(), MOST_SENT);
    assert_eq!(send_batch(near.as_fd(), &messages[MOST_SENT..]).unwrap(), 4);
    assert_eq!(send_batch(near.as_fd(), &[]).unwrap(), 0);
    let mut batch = ReceiveBatch::new();
    let mut order = Vec::new();
    while order.len() < 20 {
        batch.receive(far.as_fd(), true, 16, MOST).unwrap();
        order.extend(all(&mut batch).iter().map(|(data, _)| data[0]));
    }
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

#[test]
fn an_unnamed_unix_sender_is_nobody_and_large_messages_are_whole() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let data: Vec<u8> = (0..150_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let messages = [
        Outgoing {
            data: &data,
            to: None,
        },
        Outgoing {
            data: b"",
            to: None,
        },
    ];
    assert_eq!(send_batch(near.as_fd(), &messages[..1]).unwrap(), 1);
    assert_eq!(send_batch(near.as_fd(), &messages[1..]).unwrap(), 1);
    let mut batch = ReceiveBatch::new();
    let capacity = ReceiveBatch::capacity(false);
    assert_eq!(
        batch.receive(far.as_fd(), false, capacity, MOST).unwrap(),
        2
    );
    assert_eq!(all(&mut batch), [(data, None), (Vec::new(), None)]);
}

#[test]
fn a_message_is_cut_to_the_size_that_was_asked_for() {
    let (near, far) = UnixDatagram::pair().unwrap();
    near.send(b"0123456789").unwrap();
    near.send(b"next").unwrap();
    let mut batch = ReceiveBatch::new();
    assert_eq!(batch.receive(far.as_fd(), false, 4, 6).unwrap(), 2);
    assert_eq!(
        all(&mut batch),
        [(b"012345".to_vec(), None), (b"next".to_vec(), None)]
    );
}

#[test]
fn the_error_of_a_later_message_comes_when_it_is_first() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = address(&socket);
    let long = vec![0; 70_000];
    let unknown = Address::Unix(UnixName::Unnamed);
    let good = Outgoing {
        data: b"x",
        to: Some(&to),
    };
    let cases = [
        (
            Outgoing {
                data: &long,
                to: Some(&to),
            },
            Errno::MSGSIZE,
        ),
        (
            Outgoing {
                data: b"y",
                to: Some(&unknown),
            },
            Errno::INVAL,
        ),
    ];
    for (bad, errno) in cases {
        let messages = [good, bad, good];
        assert_eq!(send_batch(socket.as_fd(), &messages).unwrap(), 1);
        let error = send_batch(socket.as_fd(), &messages[1..]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
    }
}

#[test]
fn a_refused_datagram_is_an_error_of_the_next_call() {
    let (near, far) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    near.connect(far.local_addr().unwrap()).unwrap();
    drop(far);
    assert_eq!(
        send_batch(
            near.as_fd(),
            &[Outgoing {
                data: b"x",
                to: None
            }]
        )
        .unwrap(),
        1
    );
    let error = ReceiveBatch::new()
        .receive(near.as_fd(), true, 16, MOST)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
