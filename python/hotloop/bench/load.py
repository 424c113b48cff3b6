"""A child process: the load, in Python, for those who have no compiler.

The modes and options are those of the native generator that this one stands in for
(benches/load in the source tree), as far as they are here: echo, http, visit, hold, udp. It is
slower than some of the servers that it measures, so what it finds out about them is their CPU time
rather than their throughput.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

# Sized for the largest message, so that one read can take all that is there.
BUFFER = 256 * 1024
LOST_AFTER_NS = 200_000_000
# A server that has not answered every connection by then is not going to.
START_LIMIT_NS = 3_000_000_000

Address = tuple[str, int] | str


class Window:
    """The time of a run: what falls into its measured part, and the server's CPU time in it.

    :param options: the command line, with ``warmup`` and ``duration`` in seconds.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.now = time.perf_counter_ns
        self._pid: int | None = options.server_pid
        self._warmup = int(options.warmup * 1e9)
        self._duration = int(options.duration * 1e9)
        # Until it starts, the window has to come; a server that does not answer ends that.
        self._opens = self._ends = self.now() + START_LIMIT_NS + 2 * (self._warmup + self._duration)
        self._cpu_begun: tuple[float, float, float] | None = None
        self._latencies = array("q")
        self._all = 0
        self._errors = 0
        self._first_error: str | None = None

    def start(self) -> None:
        """Start the warm-up: the server has accepted what it has to accept."""
        self._opens = self.now() + self._warmup
        self._ends = self._opens + self._duration

    def left(self) -> float | None:
        """Seconds (float) to wait at most, None when the window is over; called every turn."""
        now = self.now()
        if now >= self._ends:
            return None
        if now < self._opens:
            return (self._opens - now) / 1e9
        if self._cpu_begun is None and self._pid is not None:
            self._cpu_begun = cpu_of(self._pid)
        return (self._ends - now) / 1e9

    def finished(self, begun: int) -> None:
        """An operation that began at *begun* (int, nanoseconds) is over."""
        now = self.now()
        self._all += 1
        if now >= self._opens:
            self._latencies.append(now - begun)

    def failed(self, why: str) -> None:
        """An operation failed, for the reason *why* (str)."""
        self._errors += 1
        self._first_error = self._first_error or why

    def report(self) -> dict[str, Any]:
        """What the native generator prints (dict)."""
        seconds = (self.now() - self._opens) / 1e9
        latencies = sorted(self._latencies)
        count = len(latencies)
        if not count and not self._errors:
            sys.exit("no operation finished in the measured time: the server does not answer")

        def at(quantile: float) -> float:
            return latencies[min(count - 1, int(quantile * count))] / 1e3 if count else 0.0

        cpu_us = user_us = None
        if self._pid is not None and self._cpu_begun is not None and count:
            pairs = zip(cpu_of(self._pid), self._cpu_begun, strict=True)
            seconds_used, ticks, user_ticks = (after - before for after, before in pairs)
            cpu_us = seconds_used / count * 1e6
            user_us = cpu_us * user_ticks / (ticks or 1.0)
        return {
            "operations": count,
            "all_operations": self._all,
            "seconds": seconds,
            "per_second": count / seconds,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "p999_us": at(0.999),
            "cpu_us": cpu_us,
            "user_us": user_us,
            "errors": self._errors,
            "first_error": self._first_error,
            "interrupted": False,
        }


def cpu_of(pid: int) -> tuple[float, float, float]:
    """CPU seconds, user plus system ticks, and user ticks of the process *pid* (int) so far."""
    # The clock of another process, as clock_getcpuclockid(3) makes its number.
    seconds = time.clock_gettime(~pid << 3 | 2)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = float(fields[11]), float(fields[12])
    return seconds, user + system, user


def connect(address: Address, tls: ssl.SSLContext | None) -> socket.socket:
    """A connected socket with TLS if *tls* is given; not blocking after its handshake."""
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.connect(address)
    else:
        made = socket.create_connection(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        made = tls.wrap_socket(made)
    made.setblocking(False)
    return made


def served(address: Address, tls: ssl.SSLContext | None) -> socket.socket:
    """A connection that has echoed a newline, which is a message to a server of lines too."""
    sock = connect(address, tls)
    sock.setblocking(True)
    sock.sendall(b"\n")
    if sock.recv(1) != b"\n":
        sys.exit("the first echo failed")
    return sock


class Peer:
    """One connection with a request under way.

    :param sock: is not blocking.
    :param request: what is sent (bytes), again and again.
    """

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.sock = sock
        self.request = request
        self.received = bytearray()
        self.unsent = memoryview(b"")
        self.begun = 0
        self.served = False


def run_exchange(
    options: argparse.Namespace,
    request: Callable[[int], bytes],
    complete: Callable[[Peer], bool],
) -> dict[str, Any]:
    """Keep one request under way on each connection until the time is over."""
    tls = client_context() if options.tls else None
    peers = [
        Peer(connect(options.address, tls), request(index)) for index in range(options.connections)
    ]
    idle = [served(options.address, tls) for _ in range(options.idle)]
    poller = select.epoll()
    by_number = {peer.sock.fileno(): peer for peer in peers}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    window = Window(options)
    for peer in peers:
        begin(peer, window, poller)
    waits = True
    while (left := window.left()) is not None:
        for number, events in poller.poll(left):
            peer = by_number[number]
            if events & select.EPOLLOUT:
                flush(peer, poller)
            take(peer, window, poller, complete)
        if waits and all(peer.served for peer in peers):
            waits = False
            window.start()
    assert len(idle) == options.idle
    return window.report()


def begin(peer: Peer, window: Window, poller: select.epoll) -> None:
    """Send the next request."""
    peer.received.clear()
    peer.begun = window.now()
    peer.unsent = memoryview(peer.request)
    flush(peer, poller, waited=False)


def flush(peer: Peer, poller: select.epoll, waited: bool = True) -> None:
    """Send what fits; wait for room only while something is left."""
    while peer.unsent:
        try:
            peer.unsent = peer.unsent[peer.sock.send(peer.unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            if not waited:
                poller.modify(peer.sock, select.EPOLLIN | select.EPOLLOUT)
            return
    if waited:
        poller.modify(peer.sock, select.EPOLLIN)


def take(
    peer: Peer, window: Window, poller: select.epoll, complete: Callable[[Peer], bool]
) -> None:
    """Receive; begin anew when the answer is complete."""
    while True:
        try:
            data = peer.sock.recv(BUFFER)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not data:
            sys.exit("the server closed a connection in the middle of an exchange")
        peer.received += data
        if complete(peer):
            window.finished(peer.begun)
            peer.served = True
            begin(peer, window, poller)
            return
        # Plain sockets say the rest by an event; TLS may hold it back in its own buffer.
        if not isinstance(peer.sock, ssl.SSLSocket):
            return


def echo(options: argparse.Namespace) -> dict[str, Any]:
    """What comes back must be what was sent."""

    def message(index: int) -> bytes:
        if options.line:
            text = bytes(32 + (at + index * 7) % 89 for at in range(options.size - 1))
            return text + b"\n"
        return bytes((at + index * 7) % 251 for at in range(options.size))

    def complete(peer: Peer) -> bool:
        if len(peer.received) < len(peer.request):
            return False
        if peer.received != peer.request:
            sys.exit("foreign byte in a reply")
        return True

    return run_exchange(options, message, complete)


def http(options: argparse.Namespace) -> dict[str, Any]:
    """GET over keep-alive connections; the answer's length is read from its head."""
    request = f"GET {options.path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()

    def complete(peer: Peer) -> bool:
        head, separator, body = bytes(peer.received).partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"an answer begins with {head[:40]!r}")
        lines = head.lower().split(b"\r\n")
        lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
        return len(body) >= int(lengths[0])

    return run_exchange(options, lambda index: request, complete)


def visit(options: argparse.Namespace) -> dict[str, Any]:
    """Connect, send, read to the end, close: one after the other, not at the same time."""
    tls = client_context() if options.tls else None
    message = bytes(at % 251 for at in range(options.size))
    window = Window(options)
    window.start()
    while window.left() is not None:
        begun = window.now()
        with socket.create_connection(options.address) as plain:
            sock = tls.wrap_socket(plain) if tls is not None else plain
            sock.sendall(message)
            answer = b""
            while data := sock.recv(65536):
                answer += data
            if tls is not None:
                sock.close()
        if answer != message:
            window.failed(f"{len(answer)} bytes came back")
        else:
            window.finished(begun)
    return window.report()


def hold(options: argparse.Namespace) -> NoReturn:
    """Open connections, echo a byte on each, say so, and keep them until stdin is closed."""
    tls = client_context() if options.tls else None
    held = [served(options.address, tls) for _ in range(options.connections)]
    print(json.dumps({"mode": "hold", "connections": len(held)}), flush=True)
    sys.stdin.buffer.read()
    sys.exit()


def udp(options: argparse.Namespace) -> dict[str, Any]:
    """Datagrams, `in_flight` of them under way on each socket."""
    poller = select.epoll()
    socks = {}
    for _ in range(options.connections):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(options.address)
        sock.setblocking(False)
        poller.register(sock, select.EPOLLIN)
        socks[sock.fileno()] = sock
    window = Window(options)
    padding = bytes(options.size - 16)
    flying: dict[bytes, tuple[socket.socket, int]] = {}
    number = 0

    def send(sock: socket.socket) -> None:
        nonlocal number
        number += 1
        message = number.to_bytes(16, "little") + padding
        flying[message] = (sock, window.now())
        try:
            sock.send(message)
        except BlockingIOError:
            pass  # found to be lost later

    window.start()
    for sock in socks.values():
        for _ in range(options.in_flight):
            send(sock)
    while (left := window.left()) is not None:
        ready = poller.poll(min(left, LOST_AFTER_NS / 1e9))
        for descriptor, _ in ready:
            sock = socks[descriptor]
            for _ in range(options.in_flight):
                try:
                    data = sock.recv(options.size + 1)
                except BlockingIOError:
                    break
                known = flying.pop(data, None)
                if known is not None:
                    window.finished(known[1])
                    send(sock)
        if not ready:
            replace_lost(flying, window, send)
    return window.report()


def replace_lost(
    flying: dict[bytes, tuple[socket.socket, int]],
    window: Window,
    send: Callable[[socket.socket], None],
) -> None:
    """Count what did not come back, and send anew."""
    limit = window.now() - LOST_AFTER_NS
    for message, (sock, begun) in list(flying.items()):
        if begun < limit:
            del flying[message]
            window.failed("a datagram was lost")
            send(sock)


def client_context() -> ssl.SSLContext:
    """A context that verifies nothing: the server is on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


MODES = {"echo": echo, "http": http, "visit": visit, "hold": hold, "udp": udp}


def main() -> None:
    """Run one mode and print its result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--tcp", metavar="HOST:PORT")
    parser.add_argument("--udp", metavar="HOST:PORT")
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--line", action="store_true")
    parser.add_argument("--path", default="/")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--duration", type=float, default=3.0)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--server-pid", type=int)
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    named = options.tcp or options.udp
    host, _, port = named.rpartition(":") if named else ("", "", "0")
    options.address = (host, int(port)) if named else options.unix
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    print(json.dumps(MODES[options.mode](options)), flush=True)
