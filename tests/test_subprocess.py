"""Children: starting them, their pipes, their end, signals, and what is left of them."""

import asyncio
import contextlib
import contextvars
import gc
import grp
import logging
import os
import pwd
import signal
import subprocess
import sys
import threading
import weakref
from asyncio import base_subprocess

import pytest

from helpers import Events, collector_off, run_child

PIPE = asyncio.subprocess.PIPE
# On asyncio of 3.11 a thread waits for each child, and wins every race for it.
THREAD = pytest.mark.hotloop_only
PYTHON = (sys.executable, "-I", "-S", "-c")


class Recorder(Events, asyncio.SubprocessProtocol):
    """A protocol that records its callbacks."""

    def __init__(self):
        super().__init__()
        self.transport = None
        self.data = {1: bytearray(), 2: bytearray()}
        self.error = None

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def pipe_data_received(self, fd, data):
        self.data[fd] += data
        if self.events[-1] == f"data {fd}":
            self.events.pop()
        self.note(f"data {fd}")

    def pipe_connection_lost(self, fd, exc):
        self.note(f"lost {fd}")

    def process_exited(self):
        self.note("exited")

    def connection_lost(self, exc):
        self.error = exc
        self.note("lost")


async def start(*program, **options):
    """Start a program with a recording protocol; without pipes unless they are asked for."""
    options = {"stdin": None, "stdout": None, "stderr": None, **options}
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Recorder, *program, **options)
    return transport, protocol


async def output(*program, **options):
    """The standard output and the return code of a program."""
    child = await asyncio.create_subprocess_exec(*program, stdout=PIPE, **options)
    out, _ = await child.communicate()
    return out, child.returncode


async def test_the_callbacks_of_a_child_without_pipes(loop):
    transport, protocol = await start("true")
    assert protocol.events == ["made"]
    assert protocol.transport is transport
    await protocol.wait("lost")
    assert protocol.events == ["made", "exited", "lost"]
    assert protocol.error is None
    assert transport.get_returncode() == 0
    transport.close()


async def test_the_callbacks_of_a_child_with_pipes(loop):
    transport, protocol = await start(
        "sh", "-c", "cat; echo error >&2; exit 3", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    stdin = transport.get_pipe_transport(0)
    assert isinstance(stdin, asyncio.WriteTransport)
    for fd in (1, 2):
        assert isinstance(transport.get_pipe_transport(fd), asyncio.ReadTransport)
    assert transport.get_pipe_transport(3) is None
    stdin.write(b"through")
    stdin.close()
    await protocol.wait("lost")
    assert protocol.data == {1: b"through", 2: b"error\n"}
    assert protocol.events[0] == "made"
    assert protocol.events[-1] == "lost"
    assert set(protocol.events) == {
        *("made", "data 1", "data 2", "lost 0", "lost 1", "lost 2", "exited", "lost")
    }
    assert transport.get_returncode() == 3
    transport.close()


async def test_the_pipes_are_there_in_connection_made(loop):
    class Looks(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.pipes = [transport.get_pipe_transport(fd) for fd in range(3)]
            self.pipes[0].write(b"early")
            self.pipes[0].write_eof()

    transport, protocol = await loop.subprocess_exec(Looks, "cat", stderr=PIPE)
    await protocol.wait("lost")
    assert protocol.data[1] == b"early"
    assert None not in protocol.pipes
    transport.close()


async def test_the_end_of_a_child_is_told_while_others_hold_its_pipe(loop):
    # The grandchild keeps the pipe; the child itself ends at once.
    transport, protocol = await start("sh", "-c", "sleep 1000 & echo $!", stdout=PIPE)
    await protocol.wait("exited")
    await protocol.wait("data 1")
    assert transport.get_returncode() == 0
    assert "lost" not in protocol.events
    os.kill(int(protocol.data[1]), signal.SIGKILL)
    await protocol.wait("lost")
    transport.close()


async def test_wait_of_the_transport(loop):
    transport, protocol = await start("sh", "-c", "exit 7")
    waiting = asyncio.gather(*(transport._wait() for _ in range(3)))
    assert await waiting == [7, 7, 7]
    assert await transport._wait() == 7
    await protocol.wait("lost")
    transport.close()


async def test_what_the_transport_is_and_says(loop):
    transport, protocol = await start("cat", stdin=PIPE, stdout=PIPE, stderr=subprocess.STDOUT)
    process = transport.get_extra_info("subprocess")
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert isinstance(transport, base_subprocess.BaseSubprocessTransport)
    assert isinstance(process, subprocess.Popen)
    assert transport._proc is process
    assert transport._pid == transport.get_pid() == process.pid
    assert transport._protocol is transport.get_protocol() is protocol
    assert transport._returncode is transport.get_returncode() is None
    assert sorted(transport._pipes) == [0, 1]
    assert not transport.is_closing()
    name = type(transport).__name__
    pipes = [repr(transport.get_pipe_transport(fd)) for fd in (0, 1)]
    expected = f"<{name} pid={process.pid} running stdin={pipes[0]} stdout={pipes[1]}>"
    assert repr(transport) == expected
    transport.get_pipe_transport(0).close()
    await protocol.wait("lost")
    assert f"pid={process.pid} returncode=0" in repr(transport)
    assert process.returncode == 0
    transport.close()
    assert transport.is_closing()
    assert (transport._proc, transport._loop, transport._protocol) == (None, None, None)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (lambda transport: transport.terminate(), signal.SIGTERM),
        (lambda transport: transport.kill(), signal.SIGKILL),
        (lambda transport: transport.send_signal(signal.SIGUSR1), signal.SIGUSR1),
        (lambda transport: transport.close(), signal.SIGKILL),
    ],
)
async def test_a_signal_ends_the_child(loop, send, number):
    transport, protocol = await start("sleep", "1000")
    send(transport)
    await protocol.wait("lost")
    assert transport.get_returncode() == -number
    transport.close()


async def test_a_child_that_is_gone_gets_no_signal(loop, monkeypatch):
    transport, protocol = await start("sh", "-c", "sleep 1000 & echo $!", stdout=PIPE)
    await protocol.wait("exited")
    await protocol.wait("data 1")
    sent = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    transport.send_signal(signal.SIGTERM)
    transport.terminate()
    transport.kill()
    monkeypatch.undo()
    if sys.version_info < (3, 13) or type(loop).__module__.startswith("hotloop"):
        assert not sent  # asyncio of 3.13 signals the number, whoever has it by now
    os.kill(int(protocol.data[1]), signal.SIGKILL)
    await protocol.wait("lost")
    with pytest.raises(ProcessLookupError):
        transport.kill()
    transport.close()


async def test_a_signal_that_does_not_exist(loop):
    transport, protocol = await start("sleep", "1000")
    with pytest.raises(OSError, match="Invalid argument"):
        transport.send_signal(10_000)
    transport.kill()
    await protocol.wait("lost")
    transport.close()


async def test_a_child_that_dies_of_a_real_time_signal(loop):
    transport, protocol = await start("sleep", "1000")
    transport.send_signal(signal.SIGRTMIN + 3)
    await protocol.wait("lost")
    assert transport.get_returncode() == -(signal.SIGRTMIN + 3)
    transport.close()


async def test_two_hundred_children_at_once(loop):
    async def one(number):
        out, code = await output("sh", "-c", f"echo {number}; exit {number % 256}")
        return int(out), code

    # Two descriptors for each, below the usual limit of 1024.
    results = await asyncio.gather(*map(one, range(200)))
    assert results == [(number, number % 256) for number in range(200)]


async def test_a_hundred_children_at_once_without_pipes(loop):
    async def one(number):
        child = await asyncio.create_subprocess_exec("sh", "-c", f"exit {number}")
        return await child.wait()

    assert await asyncio.gather(*map(one, range(100))) == list(range(100))


async def test_a_megabyte_in_each_direction(loop):
    data = os.urandom(1 << 20)
    child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    out, _ = await child.communicate(data)
    assert out == data
    assert child.returncode == 0


async def test_a_child_that_does_not_read_breaks_the_pipe(loop):
    child = await asyncio.create_subprocess_exec("true", stdin=PIPE)
    await child.communicate(b"x" * (1 << 20))
    assert child.returncode == 0


async def test_flow_control_reaches_the_protocol(loop):
    class Pauses(Recorder):
        def pause_writing(self):
            self.note("pause")

        def resume_writing(self):
            self.note("resume")

    transport, protocol = await loop.subprocess_exec(
        Pauses, "cat", stdin=PIPE, stdout=subprocess.DEVNULL, stderr=None
    )
    transport.get_pipe_transport(0).write(b"x" * (1 << 20))
    await protocol.wait("resume")
    assert protocol.events[:3] == ["made", "pause", "resume"]
    transport.get_pipe_transport(0).close()
    await protocol.wait("lost")
    transport.close()


@THREAD
async def test_somebody_else_reaps_the_child(loop, caplog):
    transport, protocol = await start("sh", "-c", "read line; exit 5", stdin=PIPE)
    transport.get_pipe_transport(0).write(b"\n")
    # Blocks the loop until the child has ended, so that the status is gone when the loop looks.
    assert os.waitpid(-1, 0)[0] == transport.get_pid()
    await protocol.wait("lost")
    assert transport.get_returncode() == 255
    assert "exit status already read" in caplog.text
    transport.close()


@THREAD
async def test_the_popen_object_reaps_the_child(loop, caplog):
    transport, protocol = await start("sh", "-c", "exit 5")
    assert transport.get_extra_info("subprocess").wait() == 5
    await protocol.wait("lost")
    assert transport.get_returncode() == 5
    assert not caplog.text
    transport.close()


async def test_children_of_others_are_left_to_them(loop):
    other = subprocess.Popen(["sh", "-c", "exit 9"])
    transport, protocol = await start("true")
    await protocol.wait("lost")
    transport.close()
    assert other.wait() == 9


def test_ignored_sigchld_leaves_no_hang():
    result = run_child(
        """
import asyncio, logging, signal, helpers

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
logging.disable()

async def main():
    # It ends only when it is watched.
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    child.stdin.close()
    print(await child.wait())

loop = helpers.new_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
asyncio.set_event_loop(None)
loop.close()
"""
    )
    assert (result.stdout, result.stderr) == ("255\n", "")


@pytest.mark.hotloop_only  # asyncio of 3.13 raises ProcessLookupError
async def test_a_child_that_is_gone_before_it_is_watched(loop, monkeypatch, caplog):
    class Reaped(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            os.waitpid(self.pid, 0)

    monkeypatch.setattr(subprocess, "Popen", Reaped)
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 255
    assert "will report returncode 255" in caplog.text


async def test_a_replaced_waitpid_fetches_the_status(loop, monkeypatch):
    asked = []
    waitpid = os.waitpid

    def replacement(pid, options):
        asked.append(pid)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", replacement)
    child = await asyncio.create_subprocess_exec(*PYTHON, "raise SystemExit(7)")
    assert await child.wait() == 7
    assert child.pid in asked


@pytest.mark.hotloop_only  # asyncio since 3.14.10
async def test_a_waitpid_that_raises_is_reported_and_leaks_nothing(loop, monkeypatch, errors):
    child = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
    fault = OSError("unexpected")

    def replacement(pid, options):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(os, "waitpid", replacement)
        child.stdin.close()
        while not errors.contexts:
            await asyncio.sleep(0)
    assert [context["exception"] for context in errors.take()] == [fault]
    os.waitpid(child.pid, 0)
    child._transport._process_exited(0)
    assert await child.wait() == 0


@pytest.mark.hotloop_only  # asyncio of 3.12 leaks the pidfd
def test_a_child_outlives_its_loop(loop_factory):
    loop = loop_factory()
    transport, protocol = loop.run_until_complete(_start_sleeper(loop))
    process = transport.get_extra_info("subprocess")
    loop.close()
    assert process.poll() is None, "it runs"
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    assert protocol.events == ["made"]
    transport.close()


async def _start_sleeper(loop):
    return await loop.subprocess_exec(
        Recorder, "sleep", "1000", stdin=None, stdout=None, stderr=None
    )


@pytest.mark.hotloop_only  # asyncio of 3.12 leaks the pidfd
def test_a_loop_that_is_closed_before_its_children_closes_their_pidfds(loop_factory):
    before = len(os.listdir("/proc/self/fd"))
    loop = loop_factory()
    transport, _ = loop.run_until_complete(_start_sleeper(loop))
    loop.close()
    assert len(os.listdir("/proc/self/fd")) == before
    process = transport.get_extra_info("subprocess")
    process.kill()
    process.wait()
    transport.close()


@THREAD
def test_a_transport_that_is_forgotten_warns_and_ends_the_child(loop_factory):
    loop = loop_factory()
    transport, protocol = loop.run_until_complete(_start_sleeper(loop))
    process = transport.get_extra_info("subprocess")
    gone = weakref.ref(transport)
    loop.close()
    protocol.transport = None
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    assert gone() is None
    assert process.wait() == -signal.SIGKILL


async def test_a_closed_transport_is_released_without_the_collector(loop):
    transport, protocol = await start("true")
    await protocol.wait("lost")
    transport.close()
    gone = weakref.ref(transport)
    protocol.transport = None
    with collector_off():
        del transport
        await asyncio.sleep(0)
        assert gone() is None


@pytest.mark.parametrize("steps", range(4))
async def test_cancelling_the_creation_ends_the_child(loop, steps):
    protocols = []

    def factory():
        protocols.append(Recorder())
        return protocols[0]

    task = asyncio.ensure_future(loop.subprocess_exec(factory, "sleep", "1000"))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        transport, _ = await task
    except asyncio.CancelledError:
        pass
    else:
        transport.kill()
        await protocols[0].wait("lost")
        transport.close()
    if protocols and protocols[0].transport is not None:
        assert protocols[0].transport.get_returncode() == -signal.SIGKILL


async def test_a_program_that_is_not_there(loop):
    with pytest.raises(FileNotFoundError):
        await start("/does/not/exist", stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def test_an_exception_of_connection_made_is_reported_and_the_child_goes_on(loop, errors):
    class Raises(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError

    transport, protocol = await loop.subprocess_exec(
        Raises, "true", stdin=None, stdout=None, stderr=None
    )
    await protocol.wait("lost")
    [report] = errors.take()
    assert isinstance(report["exception"], ZeroDivisionError)
    transport.close()


async def test_debug_mode_logs(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    with caplog.at_level(logging.DEBUG, "asyncio"):
        transport, protocol = await start("cat", stdin=PIPE, stdout=PIPE)
        transport.get_pipe_transport(0).close()
        await protocol.wait("lost")
        transport.close()
    for words in ("process 'cat' created: pid", "connected", "exited with return code 0"):
        assert words in caplog.text


@THREAD
async def test_callbacks_run_in_the_context_of_the_creator(loop):
    variable = contextvars.ContextVar("variable", default="outside")

    class Looks(Recorder):
        def note(self, name):
            super().note(f"{name} {variable.get()}")

    variable.set("inside")
    transport, protocol = await loop.subprocess_exec(
        Looks, "true", stdin=None, stdout=None, stderr=None
    )
    variable.set("later")
    await protocol.wait("lost inside")
    assert protocol.events == ["made inside", "exited inside", "lost inside"]
    transport.close()


def test_asyncio_run_from_a_thread_can_start_children(loop_factory):
    codes = []

    def work():
        async def main():
            child = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
            codes.append(await child.wait())

        loop = loop_factory()
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [4]


class TestKeywords:
    """What `subprocess.Popen` takes, the transport passes on."""

    async def test_cwd(self, loop, tmp_path):
        out, _ = await output("pwd", "-P", cwd=tmp_path)
        assert out.decode().strip() == os.path.realpath(tmp_path)

    async def test_env(self, loop):
        out, _ = await output("/bin/sh", "-c", "echo $NAME", env={"NAME": "value"})
        assert out == b"value\n"

    async def test_executable(self, loop):
        out, _ = await output("other name", "-c", "echo $0", executable="/bin/sh")
        assert out.strip() == b"other name"

    async def test_start_new_session(self, loop):
        source = "import os; print(os.getsid(0) == os.getpid())"
        assert (await output(*PYTHON, source, start_new_session=True))[0] == b"True\n"

    async def test_process_group(self, loop):
        source = "import os; print(os.getpgid(0) == os.getpid())"
        assert (await output(*PYTHON, source, process_group=0))[0] == b"True\n"

    async def test_umask(self, loop):
        out, _ = await output("sh", "-c", "umask", umask=0o27)
        assert int(out, 8) == 0o27

    async def test_pass_fds(self, loop):
        read, write = os.pipe()
        await output(*PYTHON, f"import os; os.write({write}, b'passed')", pass_fds=[write])
        os.close(write)
        assert os.read(read, 100) == b"passed"
        os.close(read)

    async def test_close_fds(self, loop):
        read, write = os.pipe()
        os.set_inheritable(write, True)
        source = f"import os; print(os.path.exists('/proc/self/fd/{write}'))"
        assert (await output(*PYTHON, source))[0] == b"False\n"
        assert (await output(*PYTHON, source, close_fds=False))[0] == b"True\n"
        os.close(read)
        os.close(write)

    async def test_preexec_fn(self, loop):
        out, _ = await output("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o31))
        assert int(out, 8) == 0o31

    async def test_restore_signals(self, loop):
        source = "grep SigIgn /proc/self/status"
        _, ignored = (await output("sh", "-c", source, restore_signals=False))[0].split()
        _, restored = (await output("sh", "-c", source))[0].split()
        pipe = 1 << signal.SIGPIPE - 1
        assert int(ignored, 16) & pipe
        assert not int(restored, 16) & pipe

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
    async def test_user_and_group(self, loop):
        user, group = pwd.getpwnam("nobody"), grp.getgrnam("daemon")
        out, _ = await output(
            *("sh", "-c", "id -u; id -g; id -G"), user="nobody", group="daemon", extra_groups=[]
        )
        assert out.split() == [str(n).encode() for n in (user.pw_uid, group.gr_gid, group.gr_gid)]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose its groups")
    async def test_extra_groups(self, loop):
        group = grp.getgrnam("daemon").gr_gid
        out, _ = await output(*PYTHON, "import os; print(os.getgroups())", extra_groups=[group])
        assert out == f"[{group}]\n".encode()

    async def test_pipesize(self, loop):
        source = "import fcntl; print(fcntl.fcntl(1, fcntl.F_GETPIPE_SZ))"
        assert (await output(*PYTHON, source, pipesize=8192))[0] == b"8192\n"

    async def test_stdin_from_a_file_and_stdout_to_a_file(self, loop, tmp_path):
        (tmp_path / "in").write_bytes(b"content")
        with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
            child = await asyncio.create_subprocess_exec("cat", stdin=source, stdout=target)
            assert await child.wait() == 0
        assert (tmp_path / "out").read_bytes() == b"content"

    async def test_devnull(self, loop):
        child = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.DEVNULL, stdout=PIPE, stderr=subprocess.DEVNULL
        )
        assert await child.communicate() == (b"", None)

    async def test_stderr_to_stdout(self, loop):
        out, _ = await output("sh", "-c", "echo one; echo two >&2", stderr=subprocess.STDOUT)
        assert out == b"one\ntwo\n"

    async def test_bytes_and_paths_as_arguments(self, loop, tmp_path):
        (tmp_path / "file").write_bytes(b"found")
        out, _ = await output(b"cat", tmp_path / "file")
        assert out == b"found"

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [("universal_newlines", True), ("text", True), ("encoding", "utf-8"), ("bufsize", 1)],
    )
    async def test_what_asyncio_refuses(self, loop, keyword, value):
        with pytest.raises(ValueError):
            await output("true", **{keyword: value})

    async def test_an_unknown_keyword(self, loop):
        with pytest.raises(TypeError):
            await output("true", no_such=1)


@pytest.mark.parametrize("pipes", [{}, {"stdin": PIPE, "stdout": PIPE}])
@pytest.mark.hotloop_only  # asyncio waits for ever, up to 3.13
async def test_a_protocol_without_connection_made_ends_the_child(loop, pipes):
    options = {"stdin": None, "stdout": None, "stderr": None, **pipes}
    with pytest.raises(AttributeError, match="connection_made"):
        await loop.subprocess_exec(NoMethods, "sleep", "1000", **options)


class NoMethods:
    """A protocol that knows nothing of connections, only of a child's end."""

    def process_exited(self):
        pass

    def pipe_connection_lost(self, fd, exc):
        pass

    def connection_lost(self, exc):
        pass


async def test_a_handler_of_sigchld_does_not_get_in_the_way(loop):
    told = Events()
    loop.add_signal_handler(signal.SIGCHLD, told.note, "SIGCHLD")
    transport, protocol = await start("true")
    await protocol.wait("lost")
    await told.wait("SIGCHLD")
    assert transport.get_returncode() == 0
    loop.remove_signal_handler(signal.SIGCHLD)
    transport.close()


async def test_nothing_of_a_failed_start_is_left(loop):
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            await start("/does/not/exist", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.hotloop_only
def test_a_thread_waits_where_pidfds_are_forbidden(hotloop, errors):
    class Forbidden(hotloop.EventLoop):
        def _watch_child(self, pid, transport):
            raise PermissionError

    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "1000", stdin=PIPE)
        child.terminate()
        assert await child.wait() == -signal.SIGTERM

    loop = Forbidden()
    loop.set_exception_handler(errors)
    loop.run_until_complete(main())
    loop.close()
    assert not errors.contexts
