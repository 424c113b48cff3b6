"""`loop._selector`: a view of what the loop watches, for asyncio's own transports and libraries that read it."""

import selectors
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import EventLoop


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """The watched descriptors by number or by object with `fileno()`."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        fd = self._loop._fileno(fileobj)
        for watched, events, reader, writer in self._loop._watched():
            if watched == fd:
                return selectors.SelectorKey(fileobj, fd, events, (reader, writer))
        raise KeyError(f"{fileobj!r} is not registered")

    def __iter__(self) -> Iterator[int]:
        return (row[0] for row in self._loop._watched())

    def __len__(self) -> int:
        return len(self._loop._watched())


class SelectorView(selectors.BaseSelector):
    """What the loop watches, as a selector that can be looked at.

    asyncio's pipe transports and some libraries read `loop._selector.get_key(fd).events`. The
    loop's poller is native: watching goes through `add_reader` and `add_writer`.
    """

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = weakref.ref(loop)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """The mapping of watched descriptors to their keys."""
        loop = self._loop()
        if loop is None:
            raise RuntimeError("Selector is closed")
        return _Keys(loop)

    def register(
        self,
        fileobj: Any,  # noqa: ARG002
        events: int,  # noqa: ARG002
        data: Any = None,  # noqa: ARG002
    ) -> selectors.SelectorKey:
        """Not possible here: RuntimeError says what to use instead."""
        raise RuntimeError(_USE_THE_LOOP)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ARG002
        """Not possible here: RuntimeError says what to use instead."""
        raise RuntimeError(_USE_THE_LOOP)

    def select(
        self,
        timeout: float | None = None,  # noqa: ARG002
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Not possible here: RuntimeError says what to use instead."""
        raise RuntimeError(_USE_THE_LOOP)


_USE_THE_LOOP = (
    "hotloop's selector is a view: "
    "use loop.add_reader() and loop.add_writer() to watch a descriptor"
)
