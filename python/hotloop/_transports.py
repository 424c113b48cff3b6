"""`loop._transports`: a view that asyncio's own transports and libraries read."""

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import EventLoop


class Transports(weakref.WeakValueDictionary[int, Any]):
    """Which transport a descriptor belongs to.

    Transports written in Python enter themselves here, as asyncio's do; the native ones are known
    to the core. Deleting one lends its descriptor to the `sock_*` methods for a while, and
    setting it again takes it back, as `BaseSelectorEventLoop._sendfile_native` does.
    """

    def __init__(self, loop: "EventLoop") -> None:
        super().__init__()
        self._hotloop = weakref.ref(loop)

    def __getitem__(self, fd: int) -> Any:
        found = self.get(fd)
        if found is None:
            raise KeyError(fd)
        return found

    def get(self, fd: int, default: Any = None) -> Any:
        """The transport of a descriptor, or the default."""
        loop = self._hotloop()
        native = None if loop is None else loop._transport_of(fd)
        return super().get(fd, default) if native is None else native

    def __delitem__(self, fd: int) -> None:
        loop = self._hotloop()
        native = None if loop is None else loop._transport_of(fd)
        if loop is not None and native is not None:
            loop._lend_transport(fd, native, True)
        else:
            super().__delitem__(fd)

    def __setitem__(self, fd: int, transport: Any) -> None:
        loop = self._hotloop()
        if loop is not None and type(transport).__module__ == "hotloop._core":
            loop._lend_transport(fd, transport, False)
        else:
            super().__setitem__(fd, transport)
