"""What CPython itself does not survive when one allocation is refused; no loop is involved. A program of its own.

    python tests/attacks/interpreter_memory_errors.py

runs five small pieces of code with each of their allocations refused in turn, each time in a forked process, and prints how
many of these processes died, lost references to the code object of the first, or raised SystemError. CPython 3.11.7, 3.12.1 and 3.13.0 were looked at:

- `function`: MAKE_FUNCTION gives back a reference to its code object that it does not own (3.12 and 3.13);
- `items`: an iterator over `dict.items()` is taken off the collector's list before it is on it (all three);
- `handler`: an exception that arises far from the beginning of a function with a handler is raised again and again, without
  end, as long as there is no memory for a number (all three; this one is tried with memory that stays refused);
- `setdefault`: a dict whose table cannot grow is left without a table (3.13; asyncio keeps the current tasks in such a dict);
- `certificate`: `SSLObject.getpeercert()` makes an SSLError of OpenSSL's queue while MemoryError is set (all three).

`memory_errors.py` steers around `function`, `items` and `setdefault`, lets the words of `certificate` pass, and nothing else.
"""

from __future__ import annotations

import _testcapi
import contextlib
import gc
import os
import signal
import ssl
import sys
import types
from collections.abc import Callable

from attack_program import CERTIFICATE

POSITIONS = 20
MAPPING = {1: 2}


def function() -> Callable[[], None]:
    return lambda: None


#: The code of the lambda, kept alive however often its references are given back.
CODE = [each for each in function.__code__.co_consts if isinstance(each, types.CodeType)] * 100


def items() -> None:
    pair = (gc, os)  # takes the one that the call of `set_nomemory` has left behind
    for _ in MAPPING.items():
        del pair
        break


def setdefault() -> dict[str, None]:
    mapping: dict[str, None] = {}
    for name in "abcdefghijklmnopqrstuvwxyz":
        mapping.setdefault(name)
    return mapping


def fail() -> None:
    raise MemoryError


#: 400 lines, and then `try: fail() finally: ...`.
NAMES: dict[str, Callable[[], None]] = {"fail": fail}
exec(
    "def handler():\n"
    + "    x = 1\n" * 400
    + "    try:\n        fail()\n    finally:\n        x = 2\n",
    NAMES,
)
handler = NAMES["handler"]


def connected() -> ssl.SSLObject:
    """The client's end of a TLS connection in memory, after its handshake."""
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(CERTIFICATE)
    client_tls = ssl.create_default_context(cafile=CERTIFICATE)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_tls.wrap_bio(back, there, server_hostname="localhost")
    server = server_tls.wrap_bio(there, back, server_side=True)
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client


CONNECTED = connected()


def certificate() -> object:
    return CONNECTED.getpeercert()


def is_spoilt(code: Callable[[], object], position: int) -> bool:
    """Run the code with one allocation refused, a few times; whether the process was spoilt by it."""
    child = os.fork()
    if child == 0:
        references = sys.getrefcount(CODE[0])
        pairs = [(number, None) for number in range(5000)]  # none is left to be used again
        for _ in range(5):
            signal.alarm(2)  # ends the process if the code does not end
            try:
                _testcapi.set_nomemory(position, 0 if code is handler else position + 1)
                code()
            except MemoryError:
                pass
            except SystemError:
                os._exit(1)
            finally:
                _testcapi.remove_mem_hooks()
        gc.collect()
        del pairs
        os._exit(int(sys.getrefcount(CODE[0]) < references))
    return os.waitpid(child, 0)[1] != 0


def main() -> None:
    """Print one line for each piece of code."""
    print("CPython", ".".join(map(str, sys.version_info[:3])))
    for code in (function, items, setdefault, certificate, handler):
        positions = 1 if code is handler else POSITIONS
        with contextlib.suppress(MemoryError):
            code()
        spoilt = sum(is_spoilt(code, position) for position in range(positions))
        print(f"{code.__name__}: {spoilt} of {positions} processes died or were spoilt", flush=True)


if __name__ == "__main__":
    main()
