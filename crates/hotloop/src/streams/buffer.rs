//! The bytes that a reader holds: appended at the end, taken from the front, without moving what stays.

use std::collections::TryReserveError;

/// What is kept of the memory when the buffer is empty, in bytes: enough for a stream of lines, little enough for
/// thousands of idle connections.
const KEPT: usize = 4096;

/// A queue of bytes in one piece of memory.
#[derive(Default)]
pub(super) struct ReadBuffer {
    memory: Vec<u8>,
    /// How many bytes at the front were taken.
    start: usize,
}

impl ReadBuffer {
    /// What has come and was not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// Appends a copy of `data`.
    ///
    /// # Errors
    /// If there is no memory for it: what has come before is as it was.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), TryReserveError> {
        // Moving pays only where it frees at least as much as it moves, so that each byte is moved once on average.
        let full = self.memory.capacity() - self.memory.len() < data.len();
        if full && self.start > self.memory.len() / 2 {
            self.memory.drain(..self.start);
            self.start = 0;
        }
        self.memory.try_reserve(data.len())?;
        self.memory.extend_from_slice(data);
        Ok(())
    }

    /// Takes `count` bytes, or all that there are, from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.memory.len() {
            self.start = 0;
            if self.memory.capacity() > KEPT {
                self.memory = Vec::new();
            } else {
                self.memory.clear();
            }
        }
    }
}
