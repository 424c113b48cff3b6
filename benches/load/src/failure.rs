//! Why a run ended without a result.

use std::fmt;
use std::io;

/// The reasons, one per variant; `Display` is what the user reads on stderr.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// The operating system refused something.
    Io(String, io::Error),
    /// The server sent what it must not have sent, or hung up.
    Peer(String),
    /// The measured window ended without one finished operation.
    NothingMeasured,
}

impl Failure {
    /// An `Io` failure from an error of std or of rustix.
    pub fn io(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Io(what.into(), error.into())
    }

    /// This program cannot do TLS.
    #[cfg(not(feature = "tls"))]
    pub fn without_tls() -> Self {
        Self::Usage("built without TLS; build with: --features tls".to_owned())
    }

    /// 2 for a wrong command line (as getopt-style tools do), 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Io(..) | Self::Peer(_) | Self::NothingMeasured => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what} (try --help)"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Peer(what) => f.write_str(what),
            Self::NothingMeasured => f.write_str(
                "no operation finished in the measured time: the server does not answer",
            ),
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}
