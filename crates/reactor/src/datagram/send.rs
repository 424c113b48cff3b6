//! Sending a backlog in batches.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Address;
use crate::faults::{self, Call};

use super::sockaddr;

/// The most messages that one call sends.
pub const MOST_SENT: usize = 16;

/// A message that is to be sent.
#[derive(Copy, Clone, Debug)]
pub struct Outgoing<'a> {
    /// What is sent; may be empty.
    pub data: &'a [u8],
    /// To whom; `None` for the peer of a connected socket.
    pub to: Option<&'a Address>,
}

/// Send the first 16 of `messages`; returns how many have left, at least one.
///
/// # Errors
/// sendmmsg(2), about the first message; `WouldBlock` if the socket's buffer is full. For an address that cannot be one,
/// the errors of [`send_to`](crate::send_to).
pub fn send_batch(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    // SAFETY: rule 3.
    let mut names: [libc::sockaddr_storage; MOST_SENT] = unsafe { zeroed() };
    // SAFETY: rule 3.
    let mut pieces: [libc::iovec; MOST_SENT] = unsafe { zeroed() };
    // SAFETY: rule 3.
    let mut headers: [libc::mmsghdr; MOST_SENT] = unsafe { zeroed() };
    let mut count = 0;
    for (((message, header), piece), name) in messages
        .iter()
        .zip(&mut headers)
        .zip(&mut pieces)
        .zip(&mut names)
    {
        if let Some(address) = message.to {
            header.msg_hdr.msg_namelen = match sockaddr::encode(address, name) {
                Ok(length) => length,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break, // what comes before it is sent first
            };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
        }
        // The kernel only reads from here.
        piece.iov_base = message.data.as_ptr().cast_mut().cast();
        piece.iov_len = message.data.len();
        header.msg_hdr.msg_iov = piece;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    faults::check_retried(Call::Send)?;
    loop {
        // SAFETY: rules 1 and 2: `count` headers were filled in above.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        if sent >= 0 {
            return Ok(sent.unsigned_abs() as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
