"""What the engine needs from the outside, one small Protocol each; `tests/contract/` holds a suite for every one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from domain.events import Record

Beside = Callable[[Any], None]
"""What else a decision's transaction does: the event store calls it with its transaction, before the commit."""


class AsOf(NamedTuple):
    """What a decision is based on beyond the aggregates that it changes: it counts only if nothing has changed that.

    Args:
        position: the notification id up to which the log was known.
        topics: of the events that must not stand behind it.
    """

    position: int
    topics: tuple[str, ...]


class EventLog(Protocol):
    """The Kafka log, as its writers see it."""

    async def append(self, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged by all in-sync replicas, in order per key.

        Raises:
            DependencyUnavailable: not acknowledged in time. Some of the records may be in the log all the same:
                append them again, their ids make the doubles harmless.
        """


class KeyStore(Protocol):
    """Keys of people and tenants, and the names people sign in with: outside the log, so that they can be forgotten.

    Every method blocks and raises `DependencyUnavailable` if the store is out of reach.
    """

    def make(self, subject: str) -> bytes:
        """A new key of 32 bytes for a subject (`user:{id}`, `tenant:{id}`), or the one it has."""

    def find(self, subject: str) -> bytes | None:
        """The subject's key; None once it was forgotten, or if it never had one."""

    def forget(self, subject: str) -> None:
        """Delete the subject's key and its sign-in name: what was sealed with it can never be read again.

        Within a second no process opens anything of it any more.
        """

    def forgetting(self, subject: str) -> Beside:
        """The same in the transaction of a decision."""

    def reserving(self, name_hash: str, user_id: str) -> Beside:
        """Makes a sign-in name this user's only one, in the transaction of a decision.

        It raises `RuleBroken` if it is somebody else's (`name-taken`).
        """

    def user_of_name(self, name_hash: str) -> str | None:
        """Whose sign-in name this is."""


class ImageStore(Protocol):
    """Firmware images, each once, under the SHA-256 of its bytes in hex.

    Every method blocks and raises `DependencyUnavailable` if the store is out of reach.
    """

    def put(self, sha256: str, content: bytes) -> None:
        """Keep an image; it may be there already."""

    def find(self, sha256: str) -> bytes | None:
        """The image, None if there is none."""
