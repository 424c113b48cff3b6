"""The interpreter ends while loops, transports, tasks and threads are in every state: it ends as ever, without a crash.

Each state is a program of its own, ended in each of several ways. What is judged is the exit status and that nothing
but warnings was written; nothing is said about what is still delivered, as asyncio says nothing either.
"""

from __future__ import annotations

import signal

import pytest

import helpers

BEFORE = """
import asyncio, contextvars, importlib, os, signal, socket, ssl, sys, threading, time, warnings
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it
module = importlib.import_module(sys.argv[1])
certificate = sys.argv[2]
loop = module.new_event_loop()
asyncio.set_event_loop(loop)
kept = []
run = loop.run_until_complete
def keep(*objects):
    kept.extend(objects)
    return objects[0]
def start(coroutine):
    task = keep(loop.create_task(coroutine))
    run(asyncio.sleep(0.001))
    return task
async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
def tls():
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    return server, ssl.create_default_context(cafile=certificate)
"""

STATES = {
    "a loop that never ran": "",
    "callbacks and timers that wait": """
loop.call_soon(print, "x"); loop.call_later(0, print); loop.call_later(100, print)
keep(loop.call_at(0, print)).cancel()
""",
    "tasks that wait": """
async def wait(event):
    try:
        await event.wait()
    finally:
        loop.call_soon(print)
        await asyncio.sleep(0)
event = asyncio.Event()
for _ in range(3): start(wait(event))
start(asyncio.wait_for(wait(event), 100))
""",
    "asynchronous generators in the middle": """
async def numbers():
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
async def first():
    generator = keep(numbers())
    return await generator.__anext__()
run(first())
""",
    "readers and writers": """
keep(*[socket.socketpair() for _ in range(3)])
for ours, theirs in kept[-3:]:
    loop.add_reader(ours, print); loop.add_writer(theirs, print)
kept[-1][0].close()
""",
    "a stream in use": """
server = keep(run(asyncio.start_server(echo, "127.0.0.1", 0)))
reader, writer = run(asyncio.open_connection(*server.sockets[0].getsockname()))
keep(reader, writer)
writer.write(b"x"); run(reader.readexactly(1))
start(reader.readline())
""",
    "a stream whose peer does not read": """
ours, theirs = socket.socketpair()
transport, protocol = run(loop.create_connection(asyncio.Protocol, sock=ours))
transport.write(b"x" * 10_000_000)
keep(transport, theirs)
""",
    "a stream that is being closed": """
ours, theirs = socket.socketpair()
transport, protocol = run(loop.create_connection(asyncio.Protocol, sock=ours))
transport.write(b"x" * 10_000_000); transport.close()
ours, other = socket.socketpair()
transport, protocol = run(loop.create_connection(asyncio.Protocol, sock=ours))
transport.abort()
keep(theirs, other)
""",
    "a transport and its protocol in a cycle": """
class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.protocol = self
    def __del__(self):
        loop.call_soon(print) if not loop.is_closed() else None
ours, theirs = socket.socketpair()
run(loop.create_connection(Protocol, sock=ours))[0].pause_reading()
keep(theirs)
""",
    "TLS in use": """
server_tls, client_tls = tls()
server = keep(run(asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)))
address = server.sockets[0].getsockname()
reader, writer = run(asyncio.open_connection(*address, ssl=client_tls, server_hostname="localhost"))
writer.write(b"x"); run(reader.readexactly(1))
keep(reader, writer)
start(reader.read())
""",
    "TLS in its handshake": """
server_tls, client_tls = tls()
listener = keep(socket.create_server(("127.0.0.1", 0)))
name = {"ssl": client_tls, "server_hostname": "localhost"}
start(asyncio.open_connection(*listener.getsockname(), **name))
silent = keep(run(asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)))
client = keep(socket.create_connection(silent.sockets[0].getsockname()))
client.send(b"x"); run(asyncio.sleep(0.01))
""",
    "TLS in its shutdown": """
server_tls, client_tls = tls()
server = keep(run(asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_tls)))
address = server.sockets[0].getsockname()
reader, writer = run(asyncio.open_connection(*address, ssl=client_tls, server_hostname="localhost"))
writer.close(); keep(reader, writer)
""",
    "datagrams": """
made = run(loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))
address = made[0].get_extra_info("sockname")
for _ in range(100): made[0].sendto(b"x" * 1000, address)
keep(*made)
""",
    "pipes": """
read, write = os.pipe()
keep(*run(loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0))))
keep(*run(loop.connect_write_pipe(asyncio.Protocol, open(write, "wb", 0))))
kept[-2].write(b"x" * 1_000_000)
""",
    "children": """
process = keep(run(asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)))
start(process.wait()); start(process.stdout.read())
""",
    "sock_* calls that wait": """
ours, theirs = socket.socketpair(); keep(ours, theirs)
ours.setblocking(False); theirs.setblocking(False)
start(loop.sock_recv(ours, 10))
start(loop.sock_sendall(theirs, b"x" * 10_000_000))
listener = keep(socket.create_server(("127.0.0.1", 0))); listener.setblocking(False)
start(loop.sock_accept(listener))
""",
    "calls in threads": """
release = threading.Event()
threading.Timer(0.05, release.set).start()
keep(loop.run_in_executor(None, release.wait), loop.run_in_executor(None, int))
start(asyncio.to_thread(int))
keep(loop.run_in_executor(None, loop.call_soon_threadsafe, print))
""",
    "a look-up": """
keep(loop.create_task(loop.getaddrinfo("localhost", 80)), loop.create_task(loop.getaddrinfo("localhost", 80)))
loop.call_soon(loop.stop); loop.run_forever()
""",
    "signal handlers": """
loop.add_signal_handler(signal.SIGUSR1, print)
loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
""",
    "a loop that runs in another thread": """
other = keep(module.new_event_loop())
threading.Thread(target=other.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(asyncio.sleep(0), other).result()
asyncio.run_coroutine_threadsafe(asyncio.sleep(100), other)
""",
    "a busy loop in another thread": """
other = keep(module.new_event_loop())
def again(): other.call_soon(again)
other.call_soon(again)
threading.Thread(target=other.run_forever, daemon=True).start()
time.sleep(0.01)
""",
    "loops in other threads, busy in code of the program that the loop calls now and then": """
def work():
    for _ in range(300): pass
def spin(other, callback):
    def again():
        other.call_soon(again)
        callback()
    other.call_soon(again)
    threading.Thread(target=keep(other).run_forever, daemon=True).start()
def raising():
    raise ValueError
class Own(type(loop)):
    def _run_once(self): work(); super()._run_once()
    def time(self): work(); return super().time()
class Late:
    def __del__(self): work()
    def __repr__(self): work(); return "late"
    def __call__(self): pass
class Socket(socket.socket):
    def recv(self, size): work(); return super().recv(size)
    def send(self, data): work(); return super().send(data)
spin(module.new_event_loop(), raising)
kept[-1].set_exception_handler(lambda *of: work())
spin(own := Own(), lambda: own.call_later(0, int))
spin(other := module.new_event_loop(), lambda: other.call_soon(Late()))
spin(looked_at := module.new_event_loop(), lambda: (looked_at.call_soon(Late()), repr(looked_at._ready)))
async def exchange():
    while True:
        await by_method.sock_sendall(ours, b"x"); await by_method.sock_recv(theirs, 1)
ours, theirs = (keep(Socket(fileno=end.detach())) for end in socket.socketpair())
ours.setblocking(False); theirs.setblocking(False)
by_method = module.new_event_loop(); keep(by_method.create_task(exchange()))
spin(by_method, int)
time.sleep(0.02)
""",
    "a thread that posts": """
def post():
    try:
        while True: loop.call_soon_threadsafe(int)
    except RuntimeError:
        pass # closed. What a daemon thread prints at the end can abort CPython: the lock of stderr.
threading.Thread(target=post, daemon=True).start()
run(asyncio.sleep(0.01))
""",
    "callbacks at exit that use the loop": """
import atexit
def late():
    loop.call_soon(int)
    if not loop.is_closed() and not loop.is_running():
        run(asyncio.sleep(0))
        ours, theirs = socket.socketpair()
        keep(*run(loop.create_connection(asyncio.Protocol, sock=ours)), theirs)
if sys.argv[3] != "closed": atexit.register(late)
""",
    "finalizers that use the loop": """
class Late:
    def __del__(self, attempts=[]):
        for attempt in (lambda: loop.call_soon(int), lambda: loop.call_later(1, int), loop.time,
                        lambda: module.new_event_loop().close(), loop.stop, loop.close, lambda: repr(loop)):
            try: attempt()
            except Exception: pass
keep(Late()); loop.late = Late(); loop.call_later(100, print, Late()); sys.late = Late()
contextvars.ContextVar("late").set(Late())
""",
}

#: What native tasks and streams add; asyncio has none.
OWN_STATES = {
    "native tasks": """
loop.set_task_factory(module.task_factory)
async def wait():
    try:
        await module.Future()
    finally:
        await asyncio.sleep(0)
for _ in range(3): start(wait())
keep(module.Future(loop=loop)).add_done_callback(print)
""",
    "native streams": """
server = keep(run(module.start_server(echo, "127.0.0.1", 0)))
reader, writer = run(module.open_connection(*server.sockets[0].getsockname()))
keep(reader, writer)
writer.write(b"x"); run(reader.readexactly(1))
start(reader.readline()); writer.write(b"x" * 10_000_000)
""",
}

#: How the program ends, with the status that it has then.
ENDS = {
    "falls off": ("", 0),
    "closed": ("loop.close()", 0),
    "exits": ("loop.call_soon(sys.exit, 3); loop.run_forever()", 3),
    "interrupted": (
        "loop.call_soon(os.kill, os.getpid(), signal.SIGINT); loop.run_forever()",
        -signal.SIGINT,
    ),
}

#: Words of no warning.
CRASHES = ("Fatal Python error", "panicked", "SystemError", "internal error", "Segmentation")


def end(state: str, ending: str) -> tuple[int, str]:
    """Run the program; return its exit status and what it wrote to stderr."""
    last, _ = ENDS[ending]
    done = helpers.run_child(
        BEFORE + state + last, helpers.LOOP_NAME, str(helpers.CERTIFICATE), ending
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("ending", ENDS)
@pytest.mark.parametrize("name", [*STATES, *OWN_STATES])
def test_the_interpreter_ends_as_ever(name, ending):
    if name in OWN_STATES and helpers.LOOP_NAME != "hotloop":
        pytest.skip("about hotloop only")
    status, errors = end({**STATES, **OWN_STATES}[name], ending)
    assert status == ENDS[ending][1], errors
    assert not any(word in errors for word in CRASHES), errors


def test_the_check_sees_a_process_that_dies_in_the_end():
    status, _ = end("import atexit; atexit.register(os.abort)\n", "falls off")
    assert status == -signal.SIGABRT
