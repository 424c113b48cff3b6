//! The part that differs between kernels: readiness notification.
//!
//! A backend supplies two types, `Selector` and `RawEvents`, used by `poller.rs` alone:
//!
//! - `Selector::new()`: an empty set of registrations, closed on exec.
//! - `Selector::add(fd, token, interest)`, `modify(fd, token, interest)`, `remove(fd)`: change the set. `fd` is the
//!   bare number that a user gave: it may be negative, closed, or stand for something else than it did. The registry
//!   relies on the answers `EBADF` (not open), `EEXIST` (add: already there), `ENOENT` (modify, remove: what the
//!   number stands for *now* is not registered) and `EPERM` (cannot be polled); a backend whose kernel answers
//!   otherwise must translate. All three may be called while another thread waits.
//!   An interest that `is_once()` is for one event: after it the registration stays, silent even about errors, until
//!   `modify` arms it again.
//! - `Selector::wait(events, timeout)`: block until at least one registration is ready, the timeout has passed (never
//!   earlier, to the nanosecond as far as the kernel goes), or a signal handler ran (`Interrupted`, not retried: the
//!   loop looks at its signals first). Level-triggered. A zero timeout never blocks.
//! - `Selector::raw_fd()`: a descriptor that is readable when a wait would report something, the same for ever.
//! - `RawEvents`: a buffer that `wait` fills, with `with_capacity`, `capacity`, `grow`, `len`, `clear`, and `get(index)`
//!   which translates one entry into an [`Event`](crate::Event). A hang-up or an error must come out as ready in both
//!   directions.

#[cfg(target_os = "linux")]
mod epoll;

#[cfg(target_os = "linux")]
pub(crate) use epoll::{RawEvents, Selector};

#[cfg(not(target_os = "linux"))]
compile_error!(
    "the reactor has no backend for this system: crates/reactor/src/sys/mod.rs says what it must supply"
);
