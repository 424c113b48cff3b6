//! Many datagrams in one system call: recvmmsg(2) and sendmmsg(2), which the safe wrappers of rustix do not have.
//!
//! # Facts
//! - recvmmsg(2) with `MSG_DONTWAIT` takes what is there and returns the number of messages. Each has its length in
//!   `msg_len`, the length of the sender's name in `msg_namelen` (0 if it has none: unix(7)). An error after the first
//!   message is kept in the socket and comes with the next call.
//! - sendmmsg(2) returns how many messages have left. It fails only if the first one could not leave; an error of a
//!   later one shows when that message is sent again. A pending error of the socket (an ICMP message, ip(7)) that
//!   ends such a call early is consumed by it, and not seen any more.
//! - A message longer than its buffer is cut, as by recvfrom(2). UDP has 16 bits for the length; the longest message of
//!   a Unix socket is a matter of the sender's buffer (`SO_SNDBUF`).
//!
//! # Rules for `unsafe`
//! 1. A header passed to the kernel points at memory that lives until the call returns, and that nobody else looks
//!    at meanwhile: locals of the calling function, or buffers behind its `&mut self`.
//! 2. The lengths in a header are those of the memory that it points at, at most; the number of headers is that of the
//!    array.
//! 3. `sockaddr_storage`, `iovec` and `mmsghdr` are plain C structs for which all bits zero are a value.
//! 4. A name is read only as far as the kernel says that it wrote, through the struct of its family, whose
//!    alignment `sockaddr_storage` has; every bit pattern is a value of these structs.

mod receive;
mod send;
mod sockaddr;

pub use receive::ReceiveBatch;
pub use send::{MOST_SENT, Outgoing, send_batch};
