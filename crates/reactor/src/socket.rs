//! The socket calls that transports make, each one system call that never blocks and never raises `SIGPIPE`.
//!
//! `MSG_DONTWAIT` is given even though the loop's sockets are non-blocking: the flag belongs to the open file, which
//! another process may share and change. An interrupted call is made again (PEP 475, without the signal check: these
//! calls do not wait, so no signal is kept waiting).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::sendfile;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, ipproto, sockopt,
};

use crate::faults::{self, Call};
use crate::{Address, UnixName};

/// `IOV_MAX` of Linux: what one `sendmsg` takes.
const MOST_SLICES: usize = 1024;
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Receive into `buf`; returns the number of bytes, 0 at the end of the stream.
///
/// # Errors
/// recv(2); `WouldBlock` if nothing has arrived.
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let receive = || {
        faults::check(Call::Recv)?;
        let most = faults::limit(Call::Recv, buf.len());
        Ok(net::recv(fd, &mut buf[..most], RecvFlags::DONTWAIT)?.1)
    };
    Ok(retry_on_intr(receive)?)
}

/// As [`recv`], into memory that need not be initialised; the first bytes are, as many as were received.
///
/// # Errors
/// recv(2); `WouldBlock` if nothing has arrived.
pub fn recv_uninit(fd: BorrowedFd<'_>, buf: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let receive = || {
        faults::check(Call::Recv)?;
        let most = faults::limit(Call::Recv, buf.len());
        Ok(net::recv(fd, &mut buf[..most], RecvFlags::DONTWAIT)?.1)
    };
    Ok(retry_on_intr(receive)?)
}

/// Receive one datagram into `buf`, cut to its length, and tell who sent it (`None` if the sender has no name, or the
/// socket is a stream).
///
/// # Errors
/// recvfrom(2); `WouldBlock` if nothing has arrived.
pub fn recv_from(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<(usize, Option<Address>)> {
    let (count, _, sender) = retry_on_intr(|| {
        faults::check(Call::Recv)?;
        net::recvfrom(fd, &mut *buf, RecvFlags::DONTWAIT)
    })?;
    Ok((count, sender.map(Address::from)))
}

/// Send from `buf`; returns the number of bytes that were taken.
///
/// # Errors
/// send(2); `WouldBlock` if the socket's buffer is full, `BrokenPipe` instead of a signal.
pub fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        faults::check(Call::Send)?;
        net::send(fd, &buf[..faults::limit(Call::Send, buf.len())], SEND)
    })?)
}

/// Send from several buffers (the first 1024 of them) in one call; returns the number of bytes that were taken.
///
/// # Errors
/// sendmsg(2); as [`send`].
pub fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    Ok(retry_on_intr(|| {
        faults::check(Call::Send)?;
        let most = faults::limit(Call::Send, bufs.len()).min(MOST_SLICES);
        net::sendmsg(fd, &bufs[..most], &mut control, SEND)
    })?)
}

/// Send `buf` as one datagram to `address`.
///
/// # Errors
/// sendto(2); `EINVAL` for an unnamed Unix address, `EAFNOSUPPORT` for [`Address::Other`], `ENAMETOOLONG` for a Unix
/// name over 108 bytes.
pub fn send_to(fd: BorrowedFd<'_>, buf: &[u8], address: &Address) -> io::Result<usize> {
    faults::check_retried(Call::Send)?;
    let sent = match address {
        Address::V4(to) => retry_on_intr(|| net::sendto(fd, buf, SEND, to)),
        Address::V6(to) => retry_on_intr(|| net::sendto(fd, buf, SEND, to)),
        Address::Unix(name) => {
            let to = unix_address(name)?;
            retry_on_intr(|| net::sendto(fd, buf, SEND, &to))
        }
        Address::Other => Err(Errno::AFNOSUPPORT),
    };
    Ok(sent?)
}

/// Send up to `count` bytes of `file` from `offset` on; returns the number that was taken, 0 at the end of the file. The
/// file's own position stays where it is.
///
/// # Errors
/// sendfile(2); `WouldBlock` if the socket's buffer is full, `Interrupted` if a signal came before the first byte,
/// `EINVAL` for a file that cannot be mapped.
pub fn send_file(
    fd: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    mut offset: u64,
    count: usize,
) -> io::Result<usize> {
    faults::check(Call::Sendfile)?;
    let most = faults::limit(Call::Sendfile, count);
    Ok(sendfile(fd, file, Some(&mut offset), most)?)
}

/// Accept one connection; the new socket is non-blocking and closed on exec. The address is that of the peer.
///
/// # Errors
/// accept4(2); `WouldBlock` if there is none, `EMFILE` and `ENFILE` if there is no descriptor for it.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<Address>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = retry_on_intr(|| {
        faults::check(Call::Accept)?;
        net::acceptfrom_with(fd, flags)
    })?;
    Ok((socket, peer.map(Address::from)))
}

/// A new stream socket of `family`, non-blocking and closed on exec.
///
/// # Errors
/// socket(2): `EMFILE` and `ENFILE`, `EAFNOSUPPORT`.
pub fn stream_socket(family: Family) -> io::Result<OwnedFd> {
    faults::check(Call::Socket)?;
    let (family, protocol) = match family {
        Family::V4 => (AddressFamily::INET, Some(ipproto::TCP)),
        Family::V6 => (AddressFamily::INET6, Some(ipproto::TCP)),
        Family::Unix => (AddressFamily::UNIX, None),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        protocol,
    )?)
}

/// Begin to connect to `address`; on a non-blocking socket the outcome is told by [`take_error`] when it can be written.
///
/// # Errors
/// connect(2): `EINPROGRESS`, and `EAGAIN` for Unix sockets, when it has to be waited for; `EINVAL` and `EAFNOSUPPORT`
/// for the addresses that [`send_to`] refuses.
pub fn connect(fd: BorrowedFd<'_>, address: &Address) -> io::Result<()> {
    faults::check(Call::Connect)?;
    match address {
        Address::V4(to) => net::connect(fd, to)?,
        Address::V6(to) => net::connect(fd, to)?,
        Address::Unix(name) => net::connect(fd, &unix_address(name)?)?,
        Address::Other => return Err(Errno::AFNOSUPPORT.into()),
    }
    Ok(())
}

/// The families whose addresses [`Address`] can carry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
    /// `AF_UNIX`.
    Unix,
}

/// The family of a socket (`SO_DOMAIN`, socket(7)); `None` for others, and for what is no socket.
#[must_use]
pub fn family(fd: BorrowedFd<'_>) -> Option<Family> {
    match sockopt::socket_domain(fd) {
        Ok(AddressFamily::INET) => Some(Family::V4),
        Ok(AddressFamily::INET6) => Some(Family::V6),
        Ok(AddressFamily::UNIX) => Some(Family::Unix),
        _ => None,
    }
}

/// The address of this end of the socket.
///
/// # Errors
/// getsockname(2).
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<Option<Address>> {
    faults::check(Call::Name)?;
    Ok(Some(net::getsockname(fd)?.into()))
}

/// The address of the other end.
///
/// # Errors
/// getpeername(2); `NotConnected`.
pub fn peer_address(fd: BorrowedFd<'_>) -> io::Result<Option<Address>> {
    faults::check(Call::Name)?;
    Ok(net::getpeername(fd)?.map(Address::from))
}

/// Send small segments at once (`TCP_NODELAY`, tcp(7)), as asyncio does for every TCP transport.
///
/// # Errors
/// setsockopt(2); `EOPNOTSUPP` or `ENOPROTOOPT` if it is not TCP.
pub fn set_nodelay(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(fd, true)?)
}

/// Tell the peer that nothing more will be sent.
///
/// # Errors
/// shutdown(2); `NotConnected`.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    faults::check(Call::Shutdown)?;
    Ok(net::shutdown(fd, Shutdown::Write)?)
}

/// Fetch and clear the pending error of the socket (`SO_ERROR`, socket(7)): how a connect ended.
///
/// # Errors
/// getsockopt(2).
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    Ok(sockopt::socket_error(fd)?.err().map(io::Error::from))
}

/// Whether it is a TCP socket over IPv4 or IPv6. False for anything else, including what is no socket.
#[must_use]
pub fn is_tcp(fd: BorrowedFd<'_>) -> bool {
    matches!(
        sockopt::socket_domain(fd),
        Ok(AddressFamily::INET | AddressFamily::INET6)
    ) && sockopt::socket_type(fd) == Ok(SocketType::STREAM)
        && sockopt::socket_protocol(fd) == Ok(Some(ipproto::TCP))
}

/// Whether the socket keeps messages apart (`SOCK_DGRAM`, `SOCK_RAW`). False for what is no socket.
#[must_use]
pub fn keeps_messages(fd: BorrowedFd<'_>) -> bool {
    matches!(
        sockopt::socket_type(fd),
        Ok(SocketType::DGRAM | SocketType::RAW)
    )
}

fn unix_address(name: &UnixName) -> Result<SocketAddrUnix, Errno> {
    match name {
        UnixName::Path(path) => SocketAddrUnix::new(&path[..]),
        UnixName::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        UnixName::Unnamed => Err(Errno::INVAL),
    }
}
