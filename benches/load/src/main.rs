//! `hotloop-load`: the native half of the benchmarks.
//!
//! One thread, one epoll set, so that the program under test and not its client is what limits a
//! measurement. Most modes are closed-loop clients; those that begin with `floor` are the cheapest
//! servers that plain epoll allows. Results are JSON on stdout, problems go to stderr.

mod address;
mod arguments;
mod datagram;
mod drive;
mod echo;
mod failure;
mod floor;
mod floor_datagram;
mod hold;
mod http;
mod probe;
mod recorder;
mod socket;
mod stop;
#[cfg(feature = "tls")]
mod tls;
mod visit;
mod window;

use std::io::Write;
use std::process::ExitCode;

use arguments::{Arguments, Mode};
use failure::Failure;

fn main() -> ExitCode {
    match Arguments::parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A failing stderr leaves nobody to tell; the exit code still does.
            let _ = writeln!(std::io::stderr(), "hotloop-load: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Some(cpu) = arguments.cpu {
        pin(cpu)?;
    }
    if matches!(
        arguments.mode,
        Mode::Hold { .. } | Mode::Floor(_) | Mode::FloorUdp
    ) {
        end_with_parent()?;
    }
    match arguments.mode {
        Mode::Help => print(arguments::USAGE),
        Mode::Features => print_json(&serde_json::json!({ "tls": cfg!(feature = "tls") })),
        Mode::Echo { load, size, line } => print_json(&echo::run(&load, size, line)?),
        Mode::Http { load, path } => print_json(&http::run(&load, &path)?),
        Mode::Visit { load, size } => print_json(&visit::run(&load, size)?),
        Mode::Udp(load) => print_json(&datagram::run(&load)?),
        Mode::Hold {
            address,
            connections,
        } => hold::run(&address, connections, print_json),
        Mode::Floor(floor) => floor::run(&floor, print_json),
        Mode::FloorUdp => floor_datagram::run(print_json),
    }
}

/// Keeps this thread on one CPU, by `sched_setaffinity(2)`.
fn pin(cpu: usize) -> Result<(), Failure> {
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(Failure::Usage(format!("there is no CPU {cpu}")));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| Failure::io(format!("cannot pin to CPU {cpu}"), error))
}

/// Has SIGTERM sent to this process when its parent dies: it would serve nobody for ever.
fn end_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| Failure::io("cannot ask to end with the parent", error))
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&value.to_string())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::io("cannot write to stdout", error))
}
