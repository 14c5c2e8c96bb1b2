"""What is published as a board's firmware, and which release a socket is offered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import ImageRejected, Missing, RuleBroken
from domain.firmware_image import ImageHead
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent, id_of

MOST_COUNTER = 2**30 - 1
"""Of what sockets take from an offer. Source: firmware_mpy/update.py."""
MOST_NOTES = 500
_is_version = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})").fullmatch


@dataclass(frozen=True)
class Release:
    """One release of a board's firmware; `signed_by` is the fingerprint of the key."""

    board: str
    version: str
    counter: int
    size: int
    sha256: str
    signed_by: str
    notes: str | None
    published_at: datetime
    published_by: str
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawn_reason: str | None = None


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of a socket that asks for firmware; `counter` is of the release that it runs."""

    device_id: str
    board: str
    counter: int


def choose_release(releases: Iterable[Release], facts: DeviceFacts) -> Release | None:
    """The release that this socket is offered: the newest one of its board, if that is newer than what it runs.

    Whoever publishes to a part of the fleet first decides that here.
    """
    fitting = [
        one for one in releases if one.board == facts.board and one.counter > facts.counter and one.withdrawn_at is None
    ]
    return max(fitting, key=lambda one: one.counter, default=None)


def firmware_aggregate_id(board: str) -> UUID:
    """The aggregate of a board's releases."""
    return id_of("firmware", board)


class FirmwareReleases(Entity):
    """All releases of one board, so that it is one decision that they only ever grow."""

    TOPIC = "wattaway.firmware-releases"

    class Event(LifecycleEvent):
        """Of a board's firmware."""

        board: str

    class Begun(Event, FirstEvent):
        """The first release of this board is about to be published."""

        TOPIC = "wattaway.firmware-begun.v1"

    class Published(Event):
        TOPIC = "wattaway.firmware-published.v1"
        version: str
        counter: int
        size: int
        sha256: str
        signed_by: str
        notes: str | None

        def apply(self, aggregate: Any) -> None:
            said = (self.version, self.counter, self.size, self.sha256, self.signed_by, self.notes)
            aggregate.releases[self.counter] = Release(self.board, *said, self.timestamp, self.actor)

    class Withdrawn(Event):
        TOPIC = "wattaway.firmware-withdrawn.v1"
        version: str
        counter: int
        sha256: str
        reason: str | None

        def apply(self, aggregate: Any) -> None:
            how = {"withdrawn_at": self.timestamp, "withdrawn_by": self.actor, "withdrawn_reason": self.reason}
            aggregate.releases[self.counter] = replace(aggregate.releases[self.counter], **how)

    def __init__(self, board: str) -> None:
        self.board = board
        self.releases: dict[int, Release] = {}

    @classmethod
    def of(cls, board: str, cause: Cause) -> FirmwareReleases:
        """A board without any release."""
        return cls.begin(cls.Begun, cause, firmware_aggregate_id(board), board=board)

    def publish(
        self, head: ImageHead, cause: Cause, *, size: int, sha256: str, signed_by: str, notes: str | None
    ) -> bool:
        """Let sockets have this image; whether that is new: to publish the same one again changes nothing.

        Raises:
            ImageRejected: version or counter are none that can be compared.
            RuleBroken: there is a release that is not older, or this one was withdrawn.
        """
        known = next((one for one in self.releases.values() if one.sha256 == sha256), None)
        if known is not None:
            if known.withdrawn_at is not None:
                raise RuleBroken("release-withdrawn", "this image was withdrawn; publish a newer release")
            return False
        self._check_newer(head.version, head.counter)
        said: dict[str, Any] = {"version": head.version, "counter": head.counter, "size": size, "sha256": sha256}
        self.decide(self.Published, cause, before={}, board=self.board, **said, signed_by=signed_by, notes=notes)
        return True

    def withdraw(self, counter: int, reason: str | None, cause: Cause) -> Release:
        """Let no socket have this release any more; those that run it keep it. Done again, it changes nothing.

        Raises:
            Missing: there is no such release.
        """
        release = self.releases.get(counter)
        if release is None:
            raise Missing("unknown-release", f"no release {counter} of board {self.board}")
        if release.withdrawn_at is None:
            said = {"version": release.version, "counter": counter, "sha256": release.sha256, "reason": reason}
            self.decide(self.Withdrawn, cause, before={}, board=self.board, **said)
        return self.releases[counter]

    def _check_newer(self, version: str, counter: int) -> None:
        if not 0 < counter <= MOST_COUNTER:
            raise ImageRejected("counter", f"counter {counter} is not between 1 and {MOST_COUNTER}")
        order = version_order(version)
        if not self.releases:
            return
        newest = self.releases[max(self.releases)]
        if counter <= newest.counter:
            raise RuleBroken("release-not-newer", f"counter {counter} is not above {newest.counter}, the newest one's")
        if order <= version_order(newest.version):
            raise RuleBroken("release-not-newer", f"version {version} is not above {newest.version}, the newest one")


def version_order(version: str) -> tuple[int, ...]:
    """What versions are compared by.

    Raises:
        ImageRejected: it is not three numbers with dots.
    """
    if not _is_version(version):
        raise ImageRejected("version", f"version {version[:40]!r} is not three numbers such as 1.2.0")
    return tuple(map(int, version.split(".")))


class ReleaseDirectory:
    """All releases, held in memory by whoever makes offers; feed it every lifecycle event in the order of the log.

    As with `Access`, nothing goes through Kafka: what was withdrawn is offered to nobody from then on.
    """

    def __init__(self) -> None:
        self._boards: dict[str, _Board] = {}
        self._by_sha256: dict[str, tuple[str, int]] = {}

    def apply(self, event: Any) -> None:
        """Take the next event of the log; those about other things change nothing here."""
        if isinstance(event, FirmwareReleases.Published | FirmwareReleases.Withdrawn):
            event.apply(self._boards.setdefault(event.board, _Board()))
            self._by_sha256[event.sha256] = (event.board, event.counter)

    def of_board(self, board: str) -> Iterable[Release]:
        """All releases of a board."""
        return self._boards[board].releases.values() if board in self._boards else ()

    def by_sha256(self, sha256: str) -> Release | None:
        """The release of this image, unless it was withdrawn."""
        if sha256 not in self._by_sha256:
            return None
        board, counter = self._by_sha256[sha256]
        release = self._boards[board].releases[counter]
        return release if release.withdrawn_at is None else None


class _Board:
    """What the events of a board are applied to here."""

    def __init__(self) -> None:
        self.releases: dict[int, Release] = {}
