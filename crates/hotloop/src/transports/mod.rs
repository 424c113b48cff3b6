//! Native transports.

pub(crate) mod datagram;
pub(crate) mod pipe;
pub(crate) mod stream;
pub(crate) mod tls;
