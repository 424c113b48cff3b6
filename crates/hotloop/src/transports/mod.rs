//! Native transports.

pub(crate) mod stream;
pub(crate) mod tls;
