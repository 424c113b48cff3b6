//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use rustix::process::Pid;

use crate::address::{Address, Place, resolve};
use crate::datagram::{self, Datagrams};
use crate::drive::Load;
use crate::failure::Failure;
use crate::floor::Floor;
use crate::window::Window;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: hotloop-load echo   SERVER [--size BYTES (1024)] [--line] [--idle N (0)] [LOAD]
       hotloop-load http   SERVER [--path /PATH] [LOAD]
       hotloop-load visit  SERVER [--size BYTES (1024)] [LOAD]
       hotloop-load hold   SERVER [--connections N (10)]
       hotloop-load udp    --udp HOST:PORT [--size BYTES (64)] [--in-flight N (16)] [LOAD]
       hotloop-load floor-echo [--unix PATH] [--tls PEM-FILE] [--once]
       hotloop-load floor-http [--unix PATH] [--tls PEM-FILE]
       hotloop-load floor-udp
       hotloop-load features

echo        send a message, wait until all of it is back, send the next; every byte is compared;
            with --line a message is text that ends in its only newline; --idle connections say
            nothing
http        GET over keep-alive HTTP/1.1 connections; a status other than 200 is an error
visit       connect, send one message, read it back, see the server close; again
hold        open connections, echo a byte on each, print, keep them until SIGTERM
udp         datagrams of which --in-flight are under way on each socket (--connections)
floor-...   bare epoll servers; print their port, end on SIGTERM
features    what this program was built with

SERVER: --tcp HOST:PORT | --unix PATH, and --tls for a server that speaks it
LOAD: --connections N (10)  --duration SECONDS (3)  --warmup SECONDS (0.5)
      --server-pid PID: report the CPU time of that process in the measured time
Everywhere: --cpu N: stay on that CPU
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
    /// Print what this program can do.
    Features,
    /// Echo client; `size` in bytes.
    Echo { load: Load, size: usize, line: bool },
    /// HTTP client; `path` begins with a slash.
    Http { load: Load, path: String },
    /// Connections of one exchange each; `size` in bytes.
    Visit { load: Load, size: usize },
    /// Idle connections.
    Hold {
        address: Address,
        connections: usize,
    },
    /// UDP client.
    Udp(Datagrams),
    /// A bare server on a stream socket.
    Floor(Floor),
    /// A bare server on a UDP socket.
    FloorUdp,
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
                Long("udp") => given.udp = Some(parser.value()?.string()?),
                Long("tls") if given.is_floor() => given.certificate = Some(parser.value()?.into()),
                Long("tls") => given.tls = Some(()),
                Long("once") => given.once = Some(()),
                Long("line") => given.line = Some(()),
                Long("cpu") => given.cpu = Some(parser.value()?.parse()?),
                Long("size") => given.size = Some(parser.value()?.parse()?),
                Long("idle") => given.idle = Some(parser.value()?.parse()?),
                Long("in-flight") => given.in_flight = Some(parser.value()?.parse()?),
                Long("path") => given.path = Some(parser.value()?.string()?),
                Long("connections") => given.connections = Some(parser.value()?.parse()?),
                Long("duration") => given.duration = Some(seconds(&mut parser)?),
                Long("warmup") => given.warmup = Some(seconds(&mut parser)?),
                Long("server-pid") => given.server = Some(process(&mut parser)?),
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
    udp: Option<String>,
    tls: Option<()>,
    certificate: Option<PathBuf>,
    once: Option<()>,
    line: Option<()>,
    cpu: Option<usize>,
    size: Option<usize>,
    idle: Option<usize>,
    in_flight: Option<usize>,
    path: Option<String>,
    connections: Option<usize>,
    duration: Option<Duration>,
    warmup: Option<Duration>,
    server: Option<Pid>,
}

impl Given {
    fn is_floor(&self) -> bool {
        self.mode.as_ref().is_some_and(|m| m.starts_with("floor"))
    }

    fn check(mut self) -> Result<Arguments, Failure> {
        let mode = self.mode.take();
        let mode = match mode.as_deref() {
            Some("echo") => Mode::Echo {
                size: self.size(1024, 1)?,
                line: self.line.take().is_some(),
                load: self.load(true)?,
            },
            Some("http") => Mode::Http {
                path: self.path()?,
                load: self.load(false)?,
            },
            Some("visit") => Mode::Visit {
                size: self.size(1024, 1)?,
                load: self.load(false)?,
            },
            Some("hold") => Mode::Hold {
                address: self.address()?,
                connections: self.connections()?,
            },
            Some("udp") => Mode::Udp(self.datagrams()?),
            Some("floor-echo") => Mode::Floor(self.floor(false)),
            Some("floor-http") => Mode::Floor(self.floor(true)),
            Some("floor-udp") => Mode::FloorUdp,
            Some("features") => Mode::Features,
            Some(other) => return Err(usage(format!("there is no mode {other:?}"))),
            None => return Err(usage("a mode is needed, such as echo or floor-echo")),
        };
        let cpu = self.cpu.take();
        self.nothing_left()?;
        Ok(Arguments { cpu, mode })
    }

    fn address(&mut self) -> Result<Address, Failure> {
        let place = match (self.tcp.take(), self.unix.take()) {
            (Some(name), None) => Place::tcp(&name)?,
            (None, Some(path)) => Place::Unix(path),
            _ => return Err(usage("give one of --tcp and --unix")),
        };
        match (self.tls.take(), &place) {
            (None, _) => Ok(Address::plain(place)),
            (Some(()), Place::Tcp(_)) => Address::tls(place),
            (Some(()), Place::Unix(_)) => Err(usage("--tls goes with --tcp")),
        }
    }

    fn load(&mut self, with_idle: bool) -> Result<Load, Failure> {
        Ok(Load {
            address: self.address()?,
            connections: self.connections()?,
            idle: match self.idle {
                Some(_) if with_idle => self.idle.take().unwrap_or(0),
                _ => 0,
            },
            window: self.window()?,
        })
    }

    fn datagrams(&mut self) -> Result<Datagrams, Failure> {
        let Some(name) = self.udp.take() else {
            return Err(usage("give --udp"));
        };
        let in_flight = self.in_flight.take().unwrap_or(16);
        if in_flight == 0 {
            return Err(usage("--in-flight must be at least 1"));
        }
        Ok(Datagrams {
            address: resolve(&name)?,
            sockets: self.connections()?,
            in_flight,
            size: self.size(64, datagram::STAMP)?,
            window: self.window()?,
        })
    }

    fn floor(&mut self, http: bool) -> Floor {
        Floor {
            unix: self.unix.take(),
            tls: self.certificate.take(),
            once: !http && self.once.take().is_some(),
            http,
        }
    }

    fn window(&mut self) -> Result<Window, Failure> {
        let duration = self.duration.take().unwrap_or(Duration::from_secs(3));
        if duration.is_zero() {
            return Err(usage("--duration must be more than 0"));
        }
        Ok(Window {
            duration,
            warmup: self.warmup.take().unwrap_or(Duration::from_millis(500)),
            server: self.server.take(),
        })
    }

    fn connections(&mut self) -> Result<usize, Failure> {
        match self.connections.take() {
            Some(0) => Err(usage("--connections must be more than 0")),
            given => Ok(given.unwrap_or(10)),
        }
    }

    fn size(&mut self, usual: usize, least: usize) -> Result<usize, Failure> {
        match self.size.take().unwrap_or(usual) {
            size if size < least => Err(usage(format!("--size must be at least {least}"))),
            size => Ok(size),
        }
    }

    fn path(&mut self) -> Result<String, Failure> {
        let path = self.path.take().unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') || path.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(usage("--path must begin with a slash and hold no space"));
        }
        Ok(path)
    }

    /// An option that the mode does not know would be ignored silently: refuse it.
    fn nothing_left(&self) -> Result<(), Failure> {
        let left = [
            ("--tcp", self.tcp.is_some()),
            ("--unix", self.unix.is_some()),
            ("--udp", self.udp.is_some()),
            ("--tls", self.tls.is_some() || self.certificate.is_some()),
            ("--once", self.once.is_some()),
            ("--line", self.line.is_some()),
            ("--size", self.size.is_some()),
            ("--idle", self.idle.is_some()),
            ("--in-flight", self.in_flight.is_some()),
            ("--path", self.path.is_some()),
            ("--connections", self.connections.is_some()),
            ("--duration", self.duration.is_some()),
            ("--warmup", self.warmup.is_some()),
            ("--server-pid", self.server.is_some()),
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

fn process(parser: &mut lexopt::Parser) -> Result<Pid, Failure> {
    let number: i32 = parser.value()?.parse()?;
    match Pid::from_raw(number) {
        Some(pid) if number > 0 => Ok(pid),
        _ => Err(usage("--server-pid must be more than 0")),
    }
}

fn usage(what: impl Into<String>) -> Failure {
    Failure::Usage(what.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, Failure> {
        Arguments::parse_from(lexopt::Parser::from_args(words.split_ascii_whitespace()))
    }

    #[test]
    fn an_echo_command_line_is_read() {
        let words = "echo --tcp 127.0.0.1:7 --size 9 --warmup 0.25 --cpu 1 --idle 3 --server-pid 8";
        let arguments = parse(words).unwrap();
        assert_eq!(arguments.cpu, Some(1));
        let Mode::Echo { load, size, line } = arguments.mode else {
            unreachable!("not echo")
        };
        assert_eq!((size, load.connections, load.idle, line), (9, 10, 3, false));
        assert_eq!(load.window.warmup, Duration::from_millis(250));
        assert_eq!(load.window.server, Pid::from_raw(8));
    }

    #[test]
    fn the_option_tls_takes_a_file_only_where_a_server_is_meant() {
        let Mode::Floor(floor) = parse("floor-echo --tls a.pem --once").unwrap().mode else {
            unreachable!("not a floor")
        };
        assert_eq!(floor.tls, Some(PathBuf::from("a.pem")));
        assert!(floor.once);
        assert!(parse("echo --tcp 127.0.0.1:7 --tls a.pem").is_err());
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for words in [
            "",
            "ping",
            "echo",
            "echo --tcp 127.0.0.1:1 --unix b",
            "echo --tcp 127.0.0.1:1 --path /",
            "echo --tcp 127.0.0.1:1 --size 0",
            "echo --unix a --tls",
            "http --tcp 127.0.0.1:1 --path x",
            "http --tcp 127.0.0.1:1 --idle 2",
            "http --tcp 127.0.0.1:1 --duration -1",
            "hold --unix a --duration 2",
            "udp --tcp 127.0.0.1:1",
            "udp --udp 127.0.0.1:1 --size 15",
            "udp --udp 127.0.0.1:1 --in-flight 0",
            "echo --unix a --server-pid 0",
            "floor-echo --size 3",
            "floor-http --once",
            "floor-udp --unix a",
        ] {
            assert!(matches!(parse(words), Err(Failure::Usage(_))), "{words:?}");
        }
    }
}
