"""Methods that many programs never call; their modules are imported when the first of them is asked for.

A process that starts hundreds of times a day (a command-line tool, a test) pays for each module at
every start: a tenth of a millisecond for an empty one. The first run of a loop needs none of these.

What a program may ask for first when it has no descriptor left is not here: there would be none to
import a module with. `sock_accept` and the end of a server are such.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

#: The mix-ins, by module and class, and the methods that each has: `tests/test_import.py` compares.
METHODS = {
    ("_connections", "ConnectionMixin"): ("create_connection", "create_unix_connection"),
    ("_dns", "DnsMixin"): ("getaddrinfo", "getnameinfo", "_joined_lookup"),
    ("_nesting", "NestingMixin"): ("_nest_patched",),
    ("_sendfile", "SendfileMixin"): ("_sendfile_native", "_sock_sendfile_native"),
    ("_subprocesses", "SubprocessMixin"): (
        "_make_subprocess_transport",
        "_start_child",
        "_watch_or_let_watch",
        "_uses_pidfd",
        "_threaded_watcher",
        "_child_watcher_callback",
    )
    + (("_watcher",) if sys.version_info >= (3, 14) else ()),
    ("_tls", "TlsMixin"): ("start_tls",),
}


def next_in_line(loop: "Any") -> "Any":
    """What `super()` would be in a method that stands in the class below: the mix-ins are not in the method order."""
    return super(SeldomMixin, loop)


if TYPE_CHECKING:
    from ._connections import ConnectionMixin
    from ._dns import DnsMixin
    from ._nesting import NestingMixin
    from ._sendfile import SendfileMixin
    from ._subprocesses import SubprocessMixin
    from ._tls import TlsMixin

    class SeldomMixin(
        ConnectionMixin, DnsMixin, NestingMixin, SendfileMixin, SubprocessMixin, TlsMixin
    ):
        """What the class below becomes."""

else:

    class Later:
        """Stands for a method that was not asked for yet."""

        __slots__ = ("mixin", "name")

        def __init__(self, mixin: tuple[str, str], name: str) -> None:
            self.mixin = mixin
            self.name = name

        def __get__(self, instance: "Any", owner: type) -> "Any":
            """Put the methods of the mix-in where this and its siblings are, and look again."""
            module, mixin = self.mixin
            methods = vars(getattr(import_module(f"{__package__}.{module}"), mixin))
            for name in METHODS[self.mixin]:
                # Another thread may have done so, and a program replaced one since then.
                if isinstance(vars(SeldomMixin)[name], Later):
                    setattr(SeldomMixin, name, methods[name])
            return getattr(owner if instance is None else instance, self.name)

    class SeldomMixin:
        """The methods of these mix-ins, each from the moment on at which one of them is asked for."""

        __slots__ = ()

        for mixin, names in METHODS.items():
            for name in names:
                locals()[name] = Later(mixin, name)
        del mixin, names, name
