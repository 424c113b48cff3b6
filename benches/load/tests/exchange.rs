//! The program as its users run it: clients against real servers, good ones and bad ones.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Enough for many operations, short enough to run with every change.
const SHORT: [&str; 4] = ["--duration", "0.05", "--warmup", "0.01"];

#[test]
fn echo_on_the_floor_server_finishes_and_sigterm_ends_both_cleanly() {
    let mut floor = Floor::start(&[]);
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
    assert!(floor.line()["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert!(floor.process.wait().unwrap().success());
}

#[test]
fn messages_larger_than_the_socket_buffers_come_back_whole() {
    let mut floor = Floor::start(&[]);
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
    let path = std::env::temp_dir().join(format!("hotloop-load-{}.sock", std::process::id()));
    let mut floor = Floor::start(&["--unix", path.to_str().unwrap()]);
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

/// The floor server; killed when the test is over, however it ends.
struct Floor {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Floor {
    fn start(options: &[&str]) -> Self {
        let mut command = program();
        command
            .arg("floor-echo")
            .args(options)
            .stdout(Stdio::piped());
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
