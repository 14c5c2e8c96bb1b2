"""Finds frames of a fixed length in a serial stream: bytes that lead nowhere are skipped one by one."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FrameFinder:
    """Collects bytes and hands out whole frames; holds less than two frames between calls.

    Args:
        length: bytes of a frame.
        read_frame: returns what a frame says, or None if it is none.

    Attributes:
        skipped: bytes that belonged to no frame.
    """

    def __init__(self, length: int, read_frame: "Callable[..., Any]") -> None:
        self._length = length
        self._read_frame = read_frame
        self._held = bytearray()
        self.skipped = 0

    def feed(self, data: bytes) -> list:
        """Return what the frames say that `data` completes, oldest first."""
        found = []
        held = self._held
        held.extend(data)
        start = 0
        while len(held) - start >= self._length:
            said = self._read_frame(bytes(held[start : start + self._length]))
            if said is None:
                start += 1
                self.skipped += 1
            else:
                found.append(said)
                start += self._length
        self._held = held[start:]
        return found
