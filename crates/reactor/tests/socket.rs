//! The socket calls over real sockets: bytes, addresses, flags and errors.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, IoSlice, Seek, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use hotloop_reactor::{
    Address, Events, Interest, Poller, Token, UnixName, accept, is_tcp, local_address,
    peer_address, recv, recv_from, recv_uninit, send, send_file, send_to, send_vectored,
    set_nodelay, shutdown_write, take_error,
};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname,
    socket_with, sockopt,
};
use tempfile::TempDir;

fn address(of: SocketAddr) -> Address {
    match of {
        SocketAddr::V4(v4) => Address::V4(v4),
        SocketAddr::V6(v6) => Address::V6(v6),
    }
}

#[test]
fn bytes_go_both_ways_and_the_end_of_the_stream_is_zero() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut buffer = [0; 16];
    // The sockets are blocking; the calls are not.
    assert_eq!(
        recv(near.as_fd(), &mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert_eq!(send(far.as_fd(), b"abc").unwrap(), 3);
    let slices = [IoSlice::new(b"de"), IoSlice::new(b""), IoSlice::new(b"f")];
    assert_eq!(send_vectored(far.as_fd(), &slices).unwrap(), 3);
    assert_eq!(recv(near.as_fd(), &mut buffer[..4]).unwrap(), 4);
    assert_eq!(&buffer[..4], b"abcd");
    assert_eq!(
        recv_uninit(near.as_fd(), &mut [MaybeUninit::uninit(); 16]).unwrap(),
        2
    );
    shutdown_write(far.as_fd()).unwrap();
    assert_eq!(recv(near.as_fd(), &mut buffer).unwrap(), 0);
}

#[test]
fn a_full_socket_would_block_and_a_closed_peer_is_a_broken_pipe() {
    let (near, far) = UnixStream::pair().unwrap();
    let chunk = [0; 1 << 16];
    let error = loop {
        if let Err(error) = send(near.as_fd(), &chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(far);
    assert_eq!(
        send(near.as_fd(), b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    let error = send_vectored(near.as_fd(), &[IoSlice::new(b"x")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_file_is_sent_from_an_offset_and_keeps_its_own_position() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let sent = |offset| send_file(far.as_fd(), file.as_fd(), offset, 4).unwrap();
    assert_eq!((sent(2), sent(8), sent(10)), (4, 2, 0));
    let mut buffer = [0; 16];
    assert_eq!(recv(near.as_fd(), &mut buffer).unwrap(), 6);
    assert_eq!(&buffer[..6], b"234589");
    assert_eq!(file.stream_position().unwrap(), 10);
}

#[test]
fn more_slices_than_the_kernel_takes_are_sent_in_part() {
    let (near, _far) = UnixStream::pair().unwrap();
    assert_eq!(
        send_vectored(near.as_fd(), &[IoSlice::new(b"x"); 2000]).unwrap(),
        1024
    );
}

#[test]
fn an_accepted_socket_is_non_blocking_closed_on_exec_and_knows_its_peer() {
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(ip).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            accept(listener.as_fd()).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The handshake on loopback is over when connect returns, so the connection is there.
        let (server, peer) = accept(listener.as_fd()).unwrap();
        assert_eq!(peer, Some(address(client.local_addr().unwrap())));
        assert!(fcntl_getfl(&server).unwrap().contains(OFlags::NONBLOCK));
        assert!(fcntl_getfd(&server).unwrap().contains(FdFlags::CLOEXEC));
        assert_eq!(peer_address(server.as_fd()).unwrap(), peer);
        let here = Some(address(listener.local_addr().unwrap()));
        assert_eq!(local_address(server.as_fd()).unwrap(), here);
        assert_eq!(
            peer_address(listener.as_fd()).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        set_nodelay(server.as_fd()).unwrap();
        assert!(sockopt::tcp_nodelay(&server).unwrap());
    }
}

#[test]
fn datagrams_carry_their_senders_address() {
    let (a, b) = (
        UdpSocket::bind("[::1]:0").unwrap(),
        UdpSocket::bind("[::1]:0").unwrap(),
    );
    let (to, from) = (
        address(b.local_addr().unwrap()),
        address(a.local_addr().unwrap()),
    );
    assert_eq!(send_to(a.as_fd(), b"hello", &to).unwrap(), 5);
    let mut buffer = [0; 3];
    assert_eq!(recv_from(b.as_fd(), &mut buffer).unwrap(), (3, Some(from)));
    assert_eq!(&buffer, b"hel");
    assert_eq!(
        recv_from(b.as_fd(), &mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn unix_names_are_told_apart() {
    let name = format!("hotloop-test-{}", std::process::id()).into_bytes();
    let abstract_name = Address::Unix(UnixName::Abstract(name.clone()));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("receiver");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = datagram();
    bind(&sender, &SocketAddrUnix::new_abstract_name(&name).unwrap()).unwrap();

    let path_name = Address::Unix(UnixName::Path(path.as_os_str().as_encoded_bytes().to_vec()));
    assert_eq!(
        local_address(receiver.as_fd()).unwrap(),
        Some(path_name.clone())
    );
    assert_eq!(
        local_address(sender.as_fd()).unwrap(),
        Some(abstract_name.clone())
    );
    assert_eq!(send_to(sender.as_fd(), b"x", &path_name).unwrap(), 1);
    assert_eq!(
        recv_from(receiver.as_fd(), &mut [0; 4]).unwrap(),
        (1, Some(abstract_name.clone()))
    );
    assert_eq!(send_to(receiver.as_fd(), b"x", &abstract_name).unwrap(), 1);
    assert_eq!(
        recv_from(sender.as_fd(), &mut [0; 4]).unwrap(),
        (1, Some(path_name.clone()))
    );
    let nameless = datagram();
    assert_eq!(send_to(nameless.as_fd(), b"x", &path_name).unwrap(), 1);
    assert_eq!(recv_from(receiver.as_fd(), &mut [0; 4]).unwrap(), (1, None));

    let (near, _far) = UnixStream::pair().unwrap();
    let unnamed = Some(Address::Unix(UnixName::Unnamed));
    assert_eq!(local_address(near.as_fd()).unwrap(), unnamed);
    assert_eq!(peer_address(near.as_fd()).unwrap(), unnamed);
}

#[test]
fn a_unix_path_of_full_length_is_no_reason_to_panic() {
    let directory = TempDir::new().unwrap();
    let mut path = directory.path().as_os_str().as_encoded_bytes().to_vec();
    path.push(b'/');
    path.resize(108, b'p');
    let socket = datagram();
    bind(&socket, &SocketAddrUnix::new(&path[..]).unwrap()).unwrap();
    assert_eq!(local_address(socket.as_fd()).unwrap(), Some(Address::Other));
}

#[test]
fn addresses_that_name_nobody_cannot_be_sent_to() {
    let socket = datagram();
    let errno = |address: &Address| {
        let error = send_to(socket.as_fd(), b"x", address).unwrap_err();
        error.raw_os_error().unwrap()
    };
    assert_eq!(errno(&Address::Other), Errno::AFNOSUPPORT.raw_os_error());
    assert_eq!(
        errno(&Address::Unix(UnixName::Unnamed)),
        Errno::INVAL.raw_os_error()
    );
    let long = Address::Unix(UnixName::Path(vec![b'x'; 109]));
    assert_eq!(errno(&long), Errno::NAMETOOLONG.raw_os_error());
}

#[test]
fn how_a_connect_ended_can_be_fetched_once() {
    let stream = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None).unwrap()
    };
    // A port that is taken, on which nobody listens.
    let deaf = stream();
    bind(&deaf, &SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0)).unwrap();
    let socket = stream();
    assert_eq!(
        connect(&socket, &getsockname(&deaf).unwrap()),
        Err(Errno::INPROGRESS)
    );
    let (poller, mut events) = (Poller::new().unwrap(), Events::with_capacity(1));
    let fd = socket.as_raw_fd();
    poller.add(fd, Token::new(fd, 0), Interest::WRITE).unwrap();
    poller.wait(&mut events, None).unwrap();
    let ended = take_error(socket.as_fd()).unwrap();
    assert_eq!(
        ended.map(|error| error.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
    assert!(take_error(socket.as_fd()).unwrap().is_none());
}

#[test]
fn only_tcp_over_ip_is_tcp() {
    assert!(is_tcp(TcpListener::bind("127.0.0.1:0").unwrap().as_fd()));
    assert!(is_tcp(
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().as_fd()
    ));
    assert!(!is_tcp(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()));
    assert!(!is_tcp(UnixStream::pair().unwrap().0.as_fd()));
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    assert!(!is_tcp(writer.as_fd()));
}

fn datagram() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap()
}
