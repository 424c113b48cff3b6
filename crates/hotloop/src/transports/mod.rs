//! Native transports.

pub(crate) mod stream;
