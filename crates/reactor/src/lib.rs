//! The mechanics of an event loop without any Python: who waits for which descriptor, which timer is next, which
//! callback is ready, what other threads posted, when a writer is to pause, and the socket calls that a transport makes.
//!
//! Nothing here knows what a callback is. The loop stores its own types in [`Registry`], [`Timers`], [`ReadyQueue`]
//! and [`Inbox`] and gets them back by value, so that it decides where (and with which locks held) they are dropped.
//! Every call into the kernel returns an [`std::io::Result`]; nothing is logged and nothing panics on bad input.
//!
//! Linux only for now: `src/sys/mod.rs` states what another backend would have to supply.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod blocking_mode;
mod borrow_fd;
mod clock;
mod datagram;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(not(feature = "faults"))]
mod faults;
mod flow_control;
mod inbox;
mod interest;
mod pipe;
mod poller;
mod ready;
mod registry;
mod resolver;
mod sleep_state;
mod socket;
mod sync;
mod sys;
mod timers;
mod token;
mod waker;
mod write_queue;

pub use address::{Address, UnixName};
pub use blocking_mode::BlockingMode;
pub use clock::{now_nanos, now_seconds};
pub use datagram::{MOST_SENT, Outgoing, ReceiveBatch, send_batch};
pub use flow_control::FlowControl;
pub use inbox::{Drain, Inbox};
pub use interest::{Direction, Interest};
pub use pipe::{PipeKind, pipe_kind, read_pipe, write_pipe, write_pipe_vectored};
pub use poller::{Event, Events, Poller};
pub use ready::ReadyQueue;
pub use registry::{Forgotten, Registry, Replaced};
pub use resolver::{Found, Lookup, LookupFailed, Question, Resolver};
pub use sleep_state::SleepState;
pub use socket::{
    Family, accept, connect, family, is_tcp, keeps_messages, local_address, peer_address, recv,
    recv_from, recv_uninit, send, send_file, send_to, send_vectored, set_nodelay, shutdown_write,
    stream_socket, take_error,
};
pub use timers::Timers;
pub use token::Token;
pub use waker::Waker;
pub use write_queue::WriteQueue;
