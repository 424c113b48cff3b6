//! `hotloop-load`: the native half of the benchmarks.
//!
//! One thread, one epoll set, so that the program under test and not its client is what limits a
//! measurement. `echo` and `http` are closed-loop clients, `floor-echo` is the cheapest echo
//! server that plain epoll allows. Results are one JSON object on stdout, problems go to stderr.

mod address;
mod arguments;
mod drive;
mod echo;
mod failure;
mod floor;
mod http;
mod recorder;
mod stop;

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
    match arguments.mode {
        Mode::Help => print(arguments::USAGE),
        Mode::Echo { load, size } => print_json(&echo::run(&load, size)?),
        Mode::Http { load, path } => print_json(&http::run(&load, &path)?),
        Mode::FloorEcho { unix } => floor::run(unix.as_deref(), print_json),
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

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&value.to_string())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::io("cannot write to stdout", error))
}
