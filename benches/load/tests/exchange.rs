//! The program as its users run it: clients against real servers, good ones and bad ones.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Enough for many operations, short enough to run with every change.
const SHORT: [&str; 4] = ["--duration", "0.05", "--warmup", "0.01"];
/// Reached only by a connection that the kernel does not take.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn echo_on_the_floor_server_finishes_and_sigterm_ends_both_cleanly() {
    let mut floor = Floor::start("floor-echo", &[]);
    let port = floor.line()["port"].to_string();
    let address = format!("127.0.0.1:{port}");

    let report = result(&load("echo", &address, &SHORT));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert!(report["p50_us"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(
        (&report["errors"], &report["interrupted"]),
        (&0.into(), &false.into())
    );

    terminate(&floor.process);
    assert!(floor.process.wait().unwrap().success());
}

#[test]
fn the_cpu_time_of_the_server_is_that_of_the_measured_window() {
    let mut floor = Floor::start("floor-echo", &[]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let pid = floor.process.id().to_string();
    let mut options = SHORT.to_vec();
    options.extend(["--server-pid", &pid, "--idle", "20", "--line"]);
    options.extend(["--duration", "0.3"]);

    let report = result(&load("echo", &address, &options));

    let spent = report["cpu_us"].as_f64().unwrap() * report["operations"].as_f64().unwrap();
    assert!(spent > 0.0 && spent <= 0.35e6, "{report}");
    assert_eq!(report["idle"], 20);
}

#[test]
fn a_visit_is_over_when_the_server_has_answered_and_closed() {
    let mut floor = Floor::start("floor-echo", &["--once"]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let report = result(&load("visit", &address, &SHORT));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["errors"], 0, "{report}");
}

#[test]
fn five_hundred_connections_may_wait_for_the_floor_server_to_accept_them() {
    let mut floor = Floor::start("floor-echo", &["--once"]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let stopped = Pid::from_child(&floor.process);
    kill_process(stopped, Signal::STOP).unwrap();
    // One that found no room would be made only after its first retransmission.
    let waiting = (0..500)
        .map(|_| TcpStream::connect_timeout(&address.parse().unwrap(), CONNECT_LIMIT))
        .collect::<Result<Vec<_>, _>>();
    kill_process(stopped, Signal::CONT).unwrap();
    assert_eq!(waiting.unwrap().len(), 500);
}

#[test]
fn a_visit_that_gets_nothing_is_counted_as_an_error() {
    let address = serve(|stream| stream.shutdown(std::net::Shutdown::Both));
    let report = result(&load("visit", &address, &SHORT));
    assert!(report["errors"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn datagrams_come_back_one_by_one() {
    let mut floor = Floor::start("floor-udp", &[]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let mut command = program();
    let output = command
        .args(["udp", "--udp", &address, "--in-flight", "3"])
        .args(SHORT)
        .output()
        .unwrap();
    let report = result(&output);
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["in_flight"], 3);
}

#[test]
fn the_bare_http_server_is_one_for_the_http_client() {
    let mut floor = Floor::start("floor-http", &[]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let report = result(&load("http", &address, &SHORT));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["errors"], 0, "{report}");
}

#[test]
fn held_connections_stay_until_sigterm() {
    let mut floor = Floor::start("floor-echo", &[]);
    let address = format!("127.0.0.1:{}", floor.line()["port"]);
    let mut held = Floor::start("hold", &["--tcp", &address, "--connections", "5"]);
    assert_eq!(held.line()["connections"], 5);
    assert!(held.process.try_wait().unwrap().is_none());
    terminate(&held.process);
    assert!(held.process.wait().unwrap().success());
}

#[cfg(feature = "tls")]
#[test]
fn tls_carries_an_echo_and_visits() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/hotloop/bench/localhost.pem"
    );
    for (mode, once, size) in [
        ("echo", &[][..], "1024"),
        ("echo", &[], "100000"),
        ("visit", &["--once"], "64"),
    ] {
        let mut floor = Floor::start("floor-echo", &[once, &["--tls", file]].concat());
        let address = format!("127.0.0.1:{}", floor.line()["port"]);
        let mut options = SHORT.to_vec();
        options.extend(["--tls", "--size", size]);
        // Ten handshakes may take longer than the usual window of a test.
        options.extend(["--duration", "0.5"]);
        let report = result(&load(mode, &address, &options));
        assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["errors"], 0, "{report}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_program_without_tls_says_so() {
    let output = load("echo", "127.0.0.1:1", &["--tls"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--features tls"));
}

#[test]
fn messages_larger_than_the_socket_buffers_come_back_whole() {
    let mut floor = Floor::start("floor-echo", &[]);
    let port = floor.line()["port"].to_string();
    let mut options = SHORT.to_vec();
    options.extend([
        "--size",
        "5000000",
        "--connections",
        "2",
        "--duration",
        "0.5",
    ]);
    let report = result(&load("echo", &format!("127.0.0.1:{port}"), &options));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn echo_over_a_unix_socket_leaves_no_file_behind() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("echo.sock");
    let mut floor = Floor::start("floor-echo", &["--unix", path.to_str().unwrap()]);
    assert_eq!(floor.line()["path"], path.to_str().unwrap());
    let mut command = program();
    let output = command
        .arg("echo")
        .arg("--unix")
        .arg(&path)
        .args(SHORT)
        .output()
        .unwrap();
    assert!(result(&output)["operations"].as_u64().unwrap() > 0);

    terminate(&floor.process);
    assert!(floor.process.wait().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn a_foreign_byte_ends_the_run_with_an_error() {
    let address = serve(|mut stream| {
        let mut message = vec![0; 1024];
        stream.read_exact(&mut message)?;
        message[1000] ^= 0x80;
        stream.write_all(&message)
    });
    let output = load("echo", &address, &SHORT);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("foreign byte") && stderr.contains("offset 1000"),
        "{stderr}"
    );
}

#[test]
fn a_server_that_never_answers_is_an_error_not_a_zero() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = load("echo", &listener.local_addr().unwrap().to_string(), &SHORT);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn http_counts_answers_that_are_not_200_and_reconnects_when_told_to() {
    let address = serve(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    });
    let report = result(&load("http", &address, &SHORT));
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert!(report["errors"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["first_error"], "status 500");
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hotloop-load"))
}

fn load(mode: &str, address: &str, options: &[&str]) -> Output {
    program()
        .args([mode, "--tcp", address])
        .args(options)
        .output()
        .unwrap()
}

fn result(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A server that treats each connection by `talk`, in threads that end with the test's process.
fn serve(talk: fn(TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || stream.and_then(talk));
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        received.extend(byte);
    }
    Ok(())
}

fn terminate(process: &Child) {
    kill_process(Pid::from_child(process), Signal::TERM).unwrap();
}

/// A program that prints a line and stays; killed when the test is over, however it ends.
struct Floor {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Floor {
    fn start(mode: &str, options: &[&str]) -> Self {
        let mut command = program();
        command.arg(mode).args(options).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
