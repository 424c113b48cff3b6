//! One connection, plain or TLS, with the same two calls.
//!
//! Errors are those of the system call. In TLS, `AGAIN` also stands for a handshake under way: it
//! is driven by whichever of the two calls comes next, so after `AGAIN` from `send` an event of
//! either kind is a reason to try again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// A connected, non-blocking socket.
pub enum Socket {
    /// TCP or Unix.
    Plain(OwnedFd),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::Stream>),
}

impl Socket {
    /// Receives into `buffer`; 0 is the end of the stream.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => {
                rustix::net::recv(&*socket, buffer, RecvFlags::empty()).map(|(length, _)| length)
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => crate::tls::recv(stream, buffer),
        }
    }

    /// Sends the first part of `bytes` that fits; the result is its length.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => rustix::net::send(&*socket, bytes, SendFlags::NOSIGNAL),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => crate::tls::send(stream, bytes),
        }
    }

    /// Whether a receive that filled `length` bytes may have left more where epoll cannot see it.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables))] // only TLS looks at the length
    pub fn may_hold_more(&self, length: usize) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => crate::tls::may_hold_more(length),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().as_fd(),
        }
    }
}
