//! Native transports.

pub(crate) mod datagram;
mod docs;
mod max_size;
mod object;
pub(crate) mod pipe;
mod reports;
pub(crate) mod stream;
pub(crate) mod tls;

/// asyncio's default marks, in bytes (`asyncio.transports._FlowControlMixin`).
const HIGH_WATER: usize = 64 * 1024;
const LOW_WATER: usize = HIGH_WATER / 4;
