//! Receiving in batches.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Address;
use crate::faults::{self, Call};

use super::sockaddr;

/// The most messages that one call takes.
const MOST: usize = 16;
/// The space for one message of an IP socket, and for one of any other: what asyncio asks of one `recvfrom`.
const IP_SPACE: usize = 64 * 1024;
const SPACE: usize = 256 * 1024;
/// Spaces do not begin at multiples of a power of two, or the beginnings of all would share few sets of the caches.
const SHIFT: usize = 192;
const MEMORY: usize = MOST * (IP_SPACE + SHIFT);

/// Memory for some messages, and the messages that the last call received into it.
///
/// It is allocated zeroed: the system supplies pages only as far as messages reach.
pub struct ReceiveBatch {
    memory: Box<[u8]>,
    names: Box<[libc::sockaddr_storage; MOST]>,
    /// Length of each message and of its sender's name.
    lengths: [(usize, usize); MOST],
    /// The distance between the beginnings of two messages.
    stride: usize,
    received: usize,
    next: usize,
}

impl ReceiveBatch {
    /// Memory for one batch at a time, about 1 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory: vec![0; MEMORY].into_boxed_slice(),
            // SAFETY: rule 3.
            names: Box::new(unsafe { zeroed() }),
            lengths: [(0, 0); MOST],
            stride: MEMORY,
            received: 0,
            next: 0,
        }
    }

    /// The most messages that [`receive`](Self::receive) can take of a socket.
    #[must_use]
    pub const fn capacity(is_ip: bool) -> usize {
        if is_ip {
            MOST
        } else {
            MEMORY / (SPACE + SHIFT)
        }
    }

    /// Receive at most `count` messages; those of an earlier call are forgotten. Messages of an IP socket are cut to
    /// 64 KiB, which is no loss, those of others to 256 KiB; and each to `max_size` bytes.
    ///
    /// # Errors
    /// recvmmsg(2); `WouldBlock` if nothing has arrived.
    pub fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        is_ip: bool,
        count: usize,
        max_size: usize,
    ) -> io::Result<usize> {
        let space = if is_ip { IP_SPACE } else { SPACE };
        let most = space.min(max_size);
        let count = count.clamp(1, Self::capacity(is_ip));
        (self.stride, self.received, self.next) = (space + SHIFT, 0, 0);
        // SAFETY: rule 3.
        let mut pieces: [libc::iovec; MOST] = unsafe { zeroed() };
        // SAFETY: rule 3.
        let mut headers: [libc::mmsghdr; MOST] = unsafe { zeroed() };
        let spaces = self.memory.chunks_exact_mut(self.stride);
        for (((header, piece), name), memory) in headers
            .iter_mut()
            .zip(&mut pieces)
            .zip(self.names.iter_mut())
            .zip(spaces)
            .take(count)
        {
            piece.iov_base = memory.as_mut_ptr().cast();
            piece.iov_len = most;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = sockaddr::SIZE;
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
        }
        faults::check_retried(Call::Recv)?;
        let received = loop {
            // SAFETY: rules 1 and 2: `count` headers were filled in above.
            let received = unsafe {
                libc::recvmmsg(
                    fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    count as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            if received >= 0 {
                break received.unsigned_abs() as usize;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        self.received = received.min(count);
        for (length, header) in self.lengths.iter_mut().zip(&headers).take(self.received) {
            *length = (
                (header.msg_len as usize).min(most),
                header.msg_hdr.msg_namelen as usize,
            );
        }
        Ok(self.received)
    }

    /// The next message that was received, and who sent it (`None` if the sender has no name).
    pub fn take_next(&mut self) -> Option<(&[u8], Option<Address>)> {
        if self.next == self.received {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let (length, name_length) = self.lengths[index];
        let start = index * self.stride;
        let sender = sockaddr::decode(&self.names[index], name_length);
        Some((&self.memory[start..start + length], sender))
    }

    /// How many messages were received and not taken yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.received - self.next
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}
