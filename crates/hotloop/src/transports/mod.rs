//! Native transports.

pub(crate) mod pipe;
pub(crate) mod stream;
