//! What a transport could not send at once.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::pipe::{write_pipe, write_pipe_vectored};
use crate::socket::{send, send_vectored};

/// How many pieces one `sendmsg` gathers: with small ones it is full enough, and the table stays on the stack.
const GATHERED: usize = 64;
/// The table of pieces is given back when the queue runs empty and it has more places than this.
const KEPT: usize = 64;

/// Pieces of bytes in the order in which they are to be sent.
///
/// A piece must keep giving out the same bytes as long as it is here. Empty ones are not kept.
#[derive(Debug)]
pub struct WriteQueue<B: AsRef<[u8]>> {
    pieces: VecDeque<B>,
    /// How many bytes of the first piece are gone already.
    sent: usize,
    /// How many bytes are still to be sent.
    len: usize,
}

impl<B: AsRef<[u8]>> WriteQueue<B> {
    /// A queue with nothing to send.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            sent: 0,
            len: 0,
        }
    }

    /// How many bytes are still to be sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether everything was sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that are still to be sent, piece by piece.
    pub fn unsent(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let mut sent = self.sent;
        self.pieces
            .iter()
            .map(move |piece| &piece.as_ref()[std::mem::take(&mut sent)..])
    }

    /// Add `piece` at the end.
    pub fn push(&mut self, piece: B) {
        let len = piece.as_ref().len();
        if len > 0 {
            self.len += len;
            self.pieces.push_back(piece);
        }
    }

    /// Add a piece of which the first `sent` bytes are gone already. Only for an empty queue: otherwise these bytes
    /// would have overtaken others.
    pub fn push_partly(&mut self, piece: B, sent: usize) {
        debug_assert!(self.is_empty(), "bytes were sent before those in the queue");
        let len = piece.as_ref().len();
        if sent < len {
            self.sent = sent;
            self.len = len - sent;
            self.pieces.push_back(piece);
        }
    }

    /// Send as much as the socket takes in one call, of at most 64 pieces, and drop the pieces that are gone. Returns
    /// the number of bytes sent, 0 if the socket takes none now.
    ///
    /// # Errors
    /// sendmsg(2), send(2); the queue is then as it was.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.flush_by(|bytes| send(fd, bytes), |table| send_vectored(fd, table))
    }

    /// As [`WriteQueue::flush`], for a descriptor that need not be a socket; it must be non-blocking.
    ///
    /// # Errors
    /// write(2), writev(2); the queue is then as it was.
    pub fn flush_pipe(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.flush_by(
            |bytes| write_pipe(fd, bytes),
            |table| write_pipe_vectored(fd, table),
        )
    }

    #[inline]
    fn flush_by(
        &mut self,
        one: impl FnOnce(&[u8]) -> io::Result<usize>,
        many: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let result = match self.pieces.len() {
            0 => return Ok(0),
            1 => one(self.slices().next().unwrap_or_default()),
            _ => {
                let mut table = [IoSlice::new(&[]); GATHERED];
                let mut used = 0;
                for (entry, slice) in table.iter_mut().zip(self.slices()) {
                    *entry = IoSlice::new(slice);
                    used += 1;
                }
                many(&table[..used])
            }
        };
        match result {
            Ok(count) => {
                self.advance(count);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Take out what is left, for the caller to drop. The first piece comes whole, however much of it was sent.
    pub fn clear(&mut self) -> VecDeque<B> {
        (self.sent, self.len) = (0, 0);
        std::mem::take(&mut self.pieces)
    }

    /// The bytes still to be sent, piece by piece.
    fn slices(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let skips = std::iter::once(self.sent).chain(std::iter::repeat(0));
        let pieces = self.pieces.iter().zip(skips);
        pieces.map(|(piece, skip)| piece.as_ref().get(skip..).unwrap_or_default())
    }

    /// Count `count` more bytes as sent.
    fn advance(&mut self, count: usize) {
        self.len = self.len.saturating_sub(count);
        self.sent += count;
        while let Some(first) = self.pieces.front().map(|piece| piece.as_ref().len()) {
            if self.sent < first {
                return;
            }
            self.sent -= first;
            self.pieces.pop_front();
        }
        if self.pieces.capacity() > KEPT {
            // Most connections are idle most of the time: do not keep the table of one burst for each.
            self.pieces = VecDeque::new();
        }
    }
}

impl<B: AsRef<[u8]>> Default for WriteQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}
