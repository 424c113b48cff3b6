//! Reading and writing descriptors that need not be sockets: pipes, FIFOs, terminals and other character devices.
//!
//! The descriptors are non-blocking ([`crate::BlockingMode`]). An interrupted call is made again, as in `socket.rs`.
//! write(2) to a pipe without a reader raises `SIGPIPE`, for which Python sets `SIG_IGN` when it starts; the error is
//! `BrokenPipe` then.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, fstat};
use rustix::io::{read, retry_on_intr, write, writev};

use crate::faults::{self, Call};

/// `IOV_MAX` of Linux: what one `writev` takes.
const MOST_SLICES: usize = 1024;

/// What a pipe transport can work with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PipeKind {
    /// A pipe or a FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device, such as a terminal.
    CharacterDevice,
}

/// What kind of pipe the descriptor is; `None` for files, directories and the rest.
///
/// # Errors
/// fstat(2).
pub fn pipe_kind(fd: BorrowedFd<'_>) -> io::Result<Option<PipeKind>> {
    Ok(match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Fifo => Some(PipeKind::Fifo),
        FileType::Socket => Some(PipeKind::Socket),
        FileType::CharacterDevice => Some(PipeKind::CharacterDevice),
        _ => None,
    })
}

/// Read into `buf`; returns the number of bytes, 0 when the last writer has closed.
///
/// # Errors
/// read(2); `WouldBlock` if there is nothing to read, `EIO` from a terminal whose other side is gone.
pub fn read_pipe(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        faults::check(Call::Read)?;
        let most = faults::limit(Call::Read, buf.len());
        read(fd, &mut buf[..most])
    })?)
}

/// Write from `buf`; returns the number of bytes that were taken.
///
/// # Errors
/// write(2); `WouldBlock` if there is no room, `BrokenPipe` if nobody reads.
pub fn write_pipe(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        faults::check(Call::Write)?;
        write(fd, &buf[..faults::limit(Call::Write, buf.len())])
    })?)
}

/// Write from several buffers (the first 1024 of them) in one call; returns the number of bytes that were taken.
///
/// # Errors
/// writev(2); as [`write_pipe`].
pub fn write_pipe_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(retry_on_intr(|| {
        faults::check(Call::Write)?;
        let most = faults::limit(Call::Write, bufs.len()).min(MOST_SLICES);
        writev(fd, &bufs[..most])
    })?)
}
