//! A descriptor's bare number as the borrowed descriptor that the system call wrappers take.
//!
//! asyncio's `add_reader` takes a number from the user and makes no promise that it is open, so nothing in the type
//! system can. This is safe for `epoll_ctl(2)` and only for calls like it:
//!
//! 1. A borrowed descriptor made here reaches nothing but `epoll_ctl`, to which a descriptor is only a number that it
//!    looks up: a closed one is answered with `EBADF`, and neither content nor offset of an open one is touched.
//! 2. The number is not negative, so it is never the `-1` that `BorrowedFd` must not hold.
//! 3. The borrow ends with the call: it is handed to a closure and cannot be kept.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;

/// Call `register` with `fd` as a borrowed descriptor.
///
/// A negative `fd` is answered with `EBADF`, as the kernel would.
pub(crate) fn with_registrable<R>(
    fd: RawFd,
    register: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<R>,
) -> io::Result<R> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: rule 2 was checked above; rules 1 and 3 are kept by the callers in `sys` and by the closure's signature.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(register(borrowed)?)
}
