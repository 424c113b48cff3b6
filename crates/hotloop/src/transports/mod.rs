//! Native transports.
//!
//! # Rules
//!
//! `unsafe` follows A1–A8 of [`crate::python`]: A4 for objects over asyncio's classes ([`object`]), A8 for descriptors. What
//! feeds OpenSSL ([`tls`]) follows T1–T7 of [`crate::tls`] as well.

mod common_methods;
pub(crate) mod datagram;
mod docs;
mod flow;
mod max_size;
mod object;
pub(crate) mod pipe;
mod reports;
pub(crate) mod stream;
pub(crate) mod tls;

use common_methods::{common_methods, error_and_message};
