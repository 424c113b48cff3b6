//! The atomic types, which loom replaces by its own when it explores the interleavings of threads (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU8, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering, fence};
