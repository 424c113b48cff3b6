//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::address::Address;
use crate::drive::Load;
use crate::failure::Failure;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: hotloop-load echo (--tcp HOST:PORT | --unix PATH) [--size BYTES] [LOAD]
       hotloop-load http (--tcp HOST:PORT | --unix PATH) [--path /PATH] [LOAD]
       hotloop-load floor-echo [--unix PATH] [--cpu N]

echo        send a message, wait until all of it is back, send the next; every byte is compared
http        GET over keep-alive HTTP/1.1 connections; a status other than 200 is an error
floor-echo  a bare epoll echo server; prints its port, ends on SIGTERM

LOAD: --connections N (10)  --duration SECONDS (3)  --warmup SECONDS (0.5)  --cpu N (any)
Prints one JSON object. SIGTERM ends the run early; what was measured is still printed.";

/// The whole command line.
pub struct Arguments {
    /// The CPU to stay on.
    pub cpu: Option<usize>,
    /// What to do.
    pub mode: Mode,
}

/// What to do.
pub enum Mode {
    /// Print the usage.
    Help,
    /// Echo client; `size` in bytes.
    Echo { load: Load, size: usize },
    /// HTTP client; `path` begins with a slash.
    Http { load: Load, path: String },
    /// Echo server, on a free TCP port of 127.0.0.1 or on a Unix path.
    FloorEcho { unix: Option<PathBuf> },
}

impl Arguments {
    /// Reads the process's arguments.
    pub fn parse() -> Result<Self, Failure> {
        Self::parse_from(lexopt::Parser::from_env())
    }

    fn parse_from(mut parser: lexopt::Parser) -> Result<Self, Failure> {
        let mut given = Given::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => {
                    return Ok(Self {
                        cpu: None,
                        mode: Mode::Help,
                    });
                }
                Long("tcp") => given.tcp = Some(parser.value()?.string()?),
                Long("unix") => given.unix = Some(parser.value()?.into()),
                Long("cpu") => given.cpu = Some(parser.value()?.parse()?),
                Long("size") => given.size = Some(parser.value()?.parse()?),
                Long("path") => given.path = Some(parser.value()?.string()?),
                Long("connections") => given.connections = Some(parser.value()?.parse()?),
                Long("duration") => given.duration = Some(seconds(&mut parser)?),
                Long("warmup") => given.warmup = Some(seconds(&mut parser)?),
                Value(mode) if given.mode.is_none() => given.mode = Some(mode.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        given.check()
    }
}

/// The options as they came, before it is known which of them belong together.
#[derive(Default)]
struct Given {
    mode: Option<String>,
    tcp: Option<String>,
    unix: Option<PathBuf>,
    cpu: Option<usize>,
    size: Option<usize>,
    path: Option<String>,
    connections: Option<usize>,
    duration: Option<Duration>,
    warmup: Option<Duration>,
}

impl Given {
    fn check(mut self) -> Result<Arguments, Failure> {
        let cpu = self.cpu;
        let mode = match self.mode.as_deref() {
            Some("echo") => {
                let size = self.size.take().unwrap_or(1024);
                if size == 0 {
                    return Err(usage("--size must be at least 1"));
                }
                Mode::Echo {
                    size,
                    load: self.load()?,
                }
            }
            Some("http") => {
                let path = self.path.take().unwrap_or_else(|| "/".to_owned());
                if !path.starts_with('/')
                    || path.contains(|c: char| c.is_ascii_control() || c == ' ')
                {
                    return Err(usage("--path must begin with a slash and hold no space"));
                }
                Mode::Http {
                    path,
                    load: self.load()?,
                }
            }
            Some("floor-echo") => {
                let unix = self.unix.take();
                self.nothing_left()?;
                Mode::FloorEcho { unix }
            }
            Some(other) => return Err(usage(format!("there is no mode {other:?}"))),
            None => return Err(usage("a mode is needed: echo, http or floor-echo")),
        };
        Ok(Arguments { cpu, mode })
    }

    fn load(&mut self) -> Result<Load, Failure> {
        let address = match (self.tcp.take(), self.unix.take()) {
            (Some(name), None) => Address::Tcp(name),
            (None, Some(path)) => Address::Unix(path),
            _ => return Err(usage("give one of --tcp and --unix")),
        };
        let load = Load {
            address,
            connections: self.connections.take().unwrap_or(10),
            duration: self.duration.take().unwrap_or(Duration::from_secs(3)),
            warmup: self.warmup.take().unwrap_or(Duration::from_millis(500)),
        };
        if load.connections == 0 || load.duration.is_zero() {
            return Err(usage("--connections and --duration must be more than 0"));
        }
        self.nothing_left()?;
        Ok(load)
    }

    /// An option that the mode does not know would be ignored silently: refuse it.
    fn nothing_left(&self) -> Result<(), Failure> {
        let left = [
            ("--tcp", self.tcp.is_some()),
            ("--size", self.size.is_some()),
            ("--path", self.path.is_some()),
            ("--connections", self.connections.is_some()),
            ("--duration", self.duration.is_some()),
            ("--warmup", self.warmup.is_some()),
        ];
        match left.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(usage(format!("{name} does not belong to this mode"))),
            None => Ok(()),
        }
    }
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, Failure> {
    let value: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(value).map_err(|error| usage(error.to_string()))
}

fn usage(what: impl Into<String>) -> Failure {
    Failure::Usage(what.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, Failure> {
        Arguments::parse_from(lexopt::Parser::from_args(words))
    }

    #[test]
    fn an_echo_command_line_is_read() {
        let words = [
            "echo",
            "--tcp",
            "localhost:7",
            "--size",
            "9",
            "--warmup",
            "0.25",
            "--cpu",
            "1",
        ];
        let arguments = parse(&words).unwrap();
        assert_eq!(arguments.cpu, Some(1));
        let Mode::Echo { load, size } = arguments.mode else {
            unreachable!("not echo")
        };
        assert_eq!((size, load.connections), (9, 10));
        assert_eq!(load.warmup, Duration::from_millis(250));
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for words in [
            &[][..],
            &["ping"],
            &["echo"],
            &["echo", "--tcp", "a:1", "--unix", "b"],
            &["echo", "--tcp", "a:1", "--path", "/"],
            &["echo", "--tcp", "a:1", "--size", "0"],
            &["http", "--tcp", "a:1", "--path", "x"],
            &["http", "--tcp", "a:1", "--duration", "-1"],
            &["floor-echo", "--size", "3"],
        ] {
            assert!(matches!(parse(words), Err(Failure::Usage(_))), "{words:?}");
        }
    }
}
