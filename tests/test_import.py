"""What `import hotloop` and the first run of a loop import, and what waits until it is asked for."""

import inspect
import sys
import textwrap
from importlib import import_module

import pytest

from helpers import run_child

pytestmark = pytest.mark.hotloop_only


def passes(source: str) -> None:
    done = run_child(textwrap.dedent(source))
    assert done.returncode == 0, done.stderr


def test_the_table_names_each_method_of_the_mix_ins():
    table = import_module("hotloop._seldom").METHODS
    for (module, mixin), names in table.items():
        methods = vars(getattr(import_module(f"hotloop.{module}"), mixin))
        assert sorted(names) == sorted(name for name in methods if not name.startswith("__"))


def test_a_first_run_needs_none_of_the_seldom_modules():
    passes(
        """
        import asyncio, sys
        import hotloop, hotloop._seldom

        hotloop.run(asyncio.sleep(0))
        waiting = {f"hotloop.{module}" for module, _ in hotloop._seldom.METHODS}
        assert waiting.isdisjoint(sys.modules), waiting & set(sys.modules)
        assert "__future__" not in sys.modules  # a module more, which nothing else needs
        """
    )


@pytest.mark.parametrize("access", ["vars(loop)", "super(Mine, loop)", "Mine"])
def test_a_method_that_was_not_imported_yet_is_found_and_stays(access):
    passes(
        f"""
        import asyncio, sys
        import hotloop

        class Mine(hotloop.EventLoop):
            pass

        loop = Mine()
        place = {access} if {access!r} != "vars(loop)" else loop
        assert "hotloop._dns" not in sys.modules
        found = place.getaddrinfo
        assert "hotloop._dns" in sys.modules
        assert getattr(found, "__func__", found).__name__ == "getaddrinfo"
        assert hotloop.EventLoop.getaddrinfo is hotloop.EventLoop.getaddrinfo
        assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
        loop.close()
        """
    )


def test_a_program_can_replace_a_method_before_it_is_imported():
    passes(
        """
        import asyncio, sys
        import hotloop

        async def mine(self, *args, **options):
            return ["mine"]

        hotloop.EventLoop.getaddrinfo = mine
        loop = hotloop.EventLoop()
        assert loop.run_until_complete(loop.getaddrinfo("localhost", 80)) == ["mine"]
        assert loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), 3)) == ("127.0.0.1", "80")
        assert loop.run_until_complete(loop.getaddrinfo("localhost", 80)) == ["mine"]
        loop.close()
        """
    )


def test_importing_a_mix_in_later_is_no_override(hotloop):
    # Each iteration looks whether the class has changed: native code must stay native after that.
    passes(
        """
        import asyncio
        import hotloop

        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0)
            found = await loop.getaddrinfo("127.0.0.1", 80)
            await asyncio.sleep(0)
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *server.sockets[0].getsockname()
            )
            assert type(transport).__module__ == "hotloop._core"
            transport.close()
            server.close()

        hotloop.run(main())
        """
    )


def test_what_may_come_first_when_no_descriptor_is_left_needs_no_import(hotloop):
    passes(
        """
        import asyncio, os, resource
        import hotloop

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            assert loop.sock_accept and loop.remove_signal_handler(1) is False
            server.close()
            assert not server.is_serving()
            for fd in taken:
                os.close(fd)

        hotloop.run(main())
        """
    )


def test_signatures_are_those_of_the_real_methods(hotloop):
    assert (
        "happy_eyeballs_delay" in inspect.signature(hotloop.EventLoop.create_connection).parameters
    )
    assert inspect.iscoroutinefunction(hotloop.EventLoop.start_tls)
    if sys.version_info >= (3, 14):
        loop = hotloop.EventLoop()
        assert loop._watcher is loop._watcher
        loop.close()
