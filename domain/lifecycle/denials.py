"""An attempt that was denied: an event for the auditors, an aggregate of its own each."""

from __future__ import annotations

from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent


class Denial(Entity):
    """Somebody tried what they may not."""

    TOPIC = "wattaway.denial"

    class Event(LifecycleEvent):
        """Of a denied attempt."""

    class Denied(Event, FirstEvent):
        TOPIC = "wattaway.attempt-denied.v1"
        action: str
        subject: str
        reason: str

    def __init__(self, action: str, subject: str, reason: str) -> None:
        self.action, self.subject, self.reason = action, subject, reason

    @classmethod
    def note(cls, action: str, subject: str, reason: str, cause: Cause) -> Denial:
        """Who tried what on which thing, and why not."""
        return cls.begin(cls.Denied, cause, action=action, subject=subject, reason=reason)
