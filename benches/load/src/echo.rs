//! Echo: what comes back must be what was sent.

use serde_json::Value;

use crate::drive::{self, Conversation, Load, Progress};
use crate::failure::Failure;

/// Sends messages of `size` bytes in a closed loop; a foreign byte in a reply ends the run.
pub fn run(load: &Load, size: usize) -> Result<Value, Failure> {
    let mut report = drive::run(load, |index| Echo::new(index, size))?;
    report["mode"] = "echo".into();
    report["connections"] = load.connections.into();
    report["size"] = size.into();
    Ok(report)
}

/// The message differs between connections and from one turn to the next, so that bytes of
/// another connection, or those of the turn before, do not pass.
struct Echo {
    index: usize,
    turn: u64,
    message: Vec<u8>,
    returned: usize,
}

impl Echo {
    fn new(index: usize, size: usize) -> Self {
        // 251 is prime: the pattern does not line up with buffers of a power of two.
        let message = (0..size).map(|at| ((at + index * 7) % 251) as u8).collect();
        Self {
            index,
            turn: 0,
            message,
            returned: 0,
        }
    }
}

impl Conversation for Echo {
    const RECONNECTS: bool = false;

    fn next(&mut self) {
        self.turn += 1;
        self.returned = 0;
        for (byte, stamp) in self.message.iter_mut().zip(self.turn.to_le_bytes()) {
            *byte = stamp;
        }
    }

    fn request(&self) -> &[u8] {
        &self.message
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        let rest = &self.message[self.returned..];
        if bytes.len() > rest.len() || bytes != &rest[..bytes.len()] {
            let at = bytes
                .iter()
                .zip(rest)
                .take_while(|(got, sent)| got == sent)
                .count();
            return Err(Failure::Peer(format!(
                "foreign byte in a reply: connection {}, message {}, offset {}",
                self.index,
                self.turn,
                self.returned + at
            )));
        }
        self.returned += bytes.len();
        Ok(if self.returned == self.message.len() {
            Progress::Complete { last: false }
        } else {
            Progress::Partial
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_in_pieces_is_complete_with_its_last_byte() {
        let mut echo = Echo::new(3, 100);
        echo.next();
        let sent = echo.request().to_vec();
        assert_eq!(echo.answer(&sent[..60]).unwrap(), Progress::Partial);
        assert_eq!(
            echo.answer(&sent[60..]).unwrap(),
            Progress::Complete { last: false }
        );
    }

    #[test]
    fn a_changed_byte_is_named_by_its_offset() {
        let mut echo = Echo::new(0, 100);
        echo.next();
        let mut reply = echo.request().to_vec();
        reply[42] ^= 1;
        let failure = echo.answer(&reply).unwrap_err().to_string();
        assert!(
            failure.ends_with("connection 0, message 1, offset 42"),
            "{failure}"
        );
    }

    #[test]
    fn the_reply_to_the_message_before_is_foreign() {
        let mut echo = Echo::new(0, 100);
        echo.next();
        let stale = echo.request().to_vec();
        echo.next();
        assert!(echo.answer(&stale).is_err());
    }

    #[test]
    fn bytes_of_another_connection_and_surplus_bytes_are_foreign() {
        let mut echo = Echo::new(0, 100);
        let mut other = Echo::new(1, 100);
        echo.next();
        other.next();
        assert!(echo.answer(other.request()).is_err());
        let mut surplus = echo.request().to_vec();
        surplus.push(0);
        assert!(echo.answer(&surplus).is_err());
    }
}
