//! Native transports.

pub(crate) mod datagram;
pub(crate) mod stream;
