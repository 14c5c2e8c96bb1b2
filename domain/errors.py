"""Every error WattAway raises on purpose.

WattAwayError
├── InvalidInput              somebody sent something wrong: say what and where
│   ├── InvalidDeviceId
│   ├── ReadingRejected       one reading; becomes a dead letter
│   ├── PayloadRejected       a whole payload; becomes a dead letter
│   ├── ImageRejected         what is to be published as firmware
│   └── EventRejected         a Kafka record that is not one of our events; becomes a dead letter
├── RuleBroken                what a thing is forbids it now
├── Missing                   nothing is there, or nothing that the asker may see
├── Denied                    the asker may see it, but not do that
├── SealBroken                a sealed text was forged, or sealed with another key
├── SettingInvalid            an operator's setting, named
├── DependencyUnavailable     a server does not answer: nothing is acknowledged, try again
├── PositionFenced            another worker has moved the read models on: re-read the positions
└── LogReplaced               the stored positions belong to another Kafka log: refuse to go on
"""

from __future__ import annotations


class WattAwayError(Exception):
    """The root: catch it to catch all that is ours."""


class InvalidInput(WattAwayError):
    """Input that can never become right by trying again.

    Args:
        reason: a stable machine-readable code (`clock_ahead`), used as a metric label.
        detail: one sentence for a person, naming the field and the value's range; never a secret.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvalidDeviceId(InvalidInput):
    """Not 1 to 64 of `A-Z a-z 0-9 _ -`."""

    def __init__(self, device_id: str) -> None:
        super().__init__("device_id", f"{device_id[:80]!r} is not 1 to 64 of the characters A-Z a-z 0-9 _ -")


class ReadingRejected(InvalidInput):
    """One reading that cannot be true."""


class PayloadRejected(InvalidInput):
    """A payload from which nothing can be read."""


class ImageRejected(InvalidInput):
    """What no socket would take as its firmware."""


class EventRejected(InvalidInput):
    """A Kafka record that is not an event of ours."""


class _Answered(WattAwayError):
    """An answer to whoever asked.

    Args:
        kind: a stable machine-readable code, such as `last-owner`.
        detail: one sentence for a person; never a secret.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class RuleBroken(_Answered):
    """What is asked for contradicts what is; something else has to change first."""


class Missing(_Answered):
    """Nothing is there, or nothing that the asker may know of."""


class Denied(_Answered):
    """The asker may know of the thing, but not do that."""


class SealBroken(WattAwayError):
    """A sealed text cannot be opened: another key, another context, or it was changed."""


class SettingInvalid(WattAwayError):
    """An operator's setting (or the thing it names) is wrong; the message says which and what to do."""


class DependencyUnavailable(WattAwayError):
    """A server is out of reach; trying again may help.

    Args:
        dependency: `kafka`, `mqtt`, `database`, `event store`, `redis`.
    """

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} is unavailable: {detail}")
        self.dependency = dependency
        self.detail = detail


class PositionFenced(WattAwayError):
    """The stored position is not the one this worker holds: another worker (or a rebuild) has moved it."""


class LogReplaced(WattAwayError):
    """The topic was made anew since the positions were stored, so its offsets mean something else."""
