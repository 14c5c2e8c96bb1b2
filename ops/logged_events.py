"""The event store's log read page by page, for tools that need a few kinds of its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eventsourcing.persistence import ApplicationRecorder

from domain.lifecycle.mapping import decode_lifecycle_event

_PAGE = 5000


def logged_events(recorder: ApplicationRecorder, topics: Sequence[str], after: int = 0) -> Iterator[tuple[int, Any]]:
    """Each event of these topics that stands behind `after` in the log, with its place there. Blocking."""
    page_is_full = True
    while page_is_full:
        page = recorder.select_notifications(after, _PAGE, topics=topics, inclusive_of_start=False)
        for notification in page:
            yield notification.id, decode_lifecycle_event(notification.topic, notification.state)
            after = notification.id
        page_is_full = len(page) == _PAGE
