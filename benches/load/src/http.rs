//! HTTP/1.1: GET after GET over keep-alive connections (RFC 9112).
//!
//! Only what a hello-world answer needs: a status line, headers, a body of Content-Length bytes.

use serde_json::Value;

use crate::drive::{self, Conversation, Load, Progress};
use crate::failure::Failure;

const MAX_HEADERS: usize = 64;

/// Requests `path` in a closed loop; answers other than 200 and lost connections are counted.
pub fn run(load: &Load, path: &str) -> Result<Value, Failure> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    let mut report = drive::run(load, |_| Get::new(request.clone().into_bytes()))?;
    report["mode"] = "http".into();
    report["connections"] = load.connections.into();
    report["path"] = path.into();
    Ok(report)
}

struct Get {
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Get {
    fn new(request: Vec<u8>) -> Self {
        Self {
            request,
            received: Vec::with_capacity(4096),
        }
    }
}

impl Conversation for Get {
    const RECONNECTS: bool = true;

    fn next(&mut self) {
        self.received.clear();
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        self.received.extend_from_slice(bytes);
        let Some(head) = Head::parse(&self.received)? else {
            return Ok(Progress::Partial);
        };
        let total = head.length.saturating_add(head.body);
        if self.received.len() < total {
            return Ok(Progress::Partial);
        }
        if self.received.len() > total {
            return Err(Failure::Peer(
                "the server sent more than its Content-Length".to_owned(),
            ));
        }
        Ok(if head.status == 200 {
            Progress::Complete { last: head.last }
        } else {
            Progress::Refused {
                why: format!("status {}", head.status),
                last: head.last,
            }
        })
    }
}

/// What is needed of an answer's first part.
struct Head {
    status: u16,
    length: usize,
    body: usize,
    last: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Failure::Peer(format!("not HTTP: {error}"))),
        };
        let mut body = None;
        let mut last = response.version == Some(0);
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(header.value)
                    .ok()
                    .and_then(|v| v.trim().parse().ok());
            } else if header.name.eq_ignore_ascii_case("connection") {
                last = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        let Some(body) = body else {
            return Err(Failure::Peer(
                "an answer without a Content-Length".to_owned(),
            ));
        };
        Ok(Some(Self {
            status: response.code.unwrap_or(0),
            length,
            body,
            last,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(pieces: &[&str]) -> Vec<Result<Progress, Failure>> {
        let mut get = Get::new(Vec::new());
        get.next();
        pieces
            .iter()
            .map(|piece| get.answer(piece.as_bytes()))
            .collect()
    }

    #[test]
    fn an_answer_is_complete_with_the_last_byte_of_its_body() {
        let pieces = ["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 5\r\n\r\nhel", "lo"];
        let mut progress = answer(&pieces);
        assert_eq!(
            progress.pop().unwrap().unwrap(),
            Progress::Complete { last: false }
        );
        assert!(
            progress
                .into_iter()
                .all(|step| step.unwrap() == Progress::Partial)
        );
    }

    #[test]
    fn another_status_is_counted_and_close_is_respected() {
        let text = "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let progress = answer(&[text]).pop().unwrap().unwrap();
        assert_eq!(
            progress,
            Progress::Refused {
                why: "status 503".to_owned(),
                last: true
            }
        );
    }

    #[test]
    fn surplus_bytes_and_other_protocols_end_the_run() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(answer(&[text]).pop().unwrap().is_err(), "{text}");
        }
    }
}
