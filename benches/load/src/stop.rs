//! SIGTERM and SIGINT as a readable descriptor.
//!
//! A flag alone could be set between its check and `epoll_wait(2)`; a byte in a socket pair stays
//! until it is seen (the "self-pipe" of select_tut(2)).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

/// Readable from the moment on which the process was asked to end.
pub struct Stop(UnixStream);

impl Stop {
    /// Takes SIGTERM and SIGINT over for the rest of the process's life.
    pub fn install() -> Result<Self, Failure> {
        let register = || {
            let (reader, writer) = UnixStream::pair()?;
            for signal in [SIGTERM, SIGINT] {
                signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
            }
            Ok(Self(reader))
        };
        register().map_err(|error: std::io::Error| Failure::io("cannot handle signals", error))
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
