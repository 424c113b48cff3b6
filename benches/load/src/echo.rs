//! Echo: what comes back must be what was sent.

use serde_json::Value;

use crate::drive::{self, Conversation, Load, Progress};
use crate::failure::Failure;

/// Sends messages of `size` bytes in a closed loop; a foreign byte in a reply ends the run.
///
/// With `line`, a message is printable text that ends in its only newline.
pub fn run(load: &Load, size: usize, line: bool) -> Result<Value, Failure> {
    let mut report = drive::run(load, |index| Echo::new(index, size, line))?;
    report["mode"] = "echo".into();
    report["line"] = line.into();
    report["idle"] = load.idle.into();
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
    line: bool,
    returned: usize,
}

impl Echo {
    fn new(index: usize, size: usize, line: bool) -> Self {
        // Primes: the pattern does not line up with buffers of a power of two.
        let byte = |at| {
            if line {
                b' ' + ((at + index * 7) % 89) as u8
            } else {
                ((at + index * 7) % 251) as u8
            }
        };
        let mut message: Vec<u8> = (0..size).map(byte).collect();
        if let (true, Some(last)) = (line, message.last_mut()) {
            *last = b'\n';
        }
        Self {
            index,
            turn: 0,
            message,
            line,
            returned: 0,
        }
    }
}

impl Conversation for Echo {
    const RECONNECTS: bool = false;

    fn next(&mut self) {
        self.turn += 1;
        self.returned = 0;
        if self.line {
            let text = self.message.len() - 1;
            for (at, byte) in self.message[..text].iter_mut().take(8).enumerate() {
                *byte = b'a' + (self.turn >> (4 * at) & 15) as u8;
            }
            return;
        }
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
        let mut echo = Echo::new(3, 100, false);
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
        let mut echo = Echo::new(0, 100, false);
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
        let mut echo = Echo::new(0, 100, false);
        echo.next();
        let stale = echo.request().to_vec();
        echo.next();
        assert!(echo.answer(&stale).is_err());
    }

    #[test]
    fn bytes_of_another_connection_and_surplus_bytes_are_foreign() {
        let mut echo = Echo::new(0, 100, false);
        let mut other = Echo::new(1, 100, false);
        echo.next();
        other.next();
        assert!(echo.answer(other.request()).is_err());
        let mut surplus = echo.request().to_vec();
        surplus.push(0);
        assert!(echo.answer(&surplus).is_err());
    }

    #[test]
    fn a_line_has_one_newline_at_its_end_and_differs_from_the_one_before() {
        let mut echo = Echo::new(5, 1024, true);
        echo.next();
        let before = echo.request().to_vec();
        for _ in 0..300 {
            echo.next();
            let newlines = echo.request().iter().filter(|byte| **byte == b'\n');
            assert_eq!((newlines.count(), echo.request()[1023]), (1, b'\n'));
        }
        assert_ne!(before, echo.request());
    }
}
