"""What a command says last when it cannot go on: one line with what is wrong and what to do about it."""

from __future__ import annotations

import errno

from domain.errors import DependencyUnavailable, WattAwayError
from ops.child import ChildFailed

_NAMED_BY = {
    "kafka": "WATTAWAY_KAFKA_BOOTSTRAP",
    "mqtt": "WATTAWAY_MQTT_HOST and WATTAWAY_MQTT_PORT",
    "database": "WATTAWAY_DATABASE_URL",
    "event store": "WATTAWAY_EVENT_STORE_URL",
    "redis": "WATTAWAY_REDIS_URL",
}


def complaint(error: WattAwayError | OSError) -> str:
    """One line, whatever the error's own words look like."""
    return " ".join(f"{_sentence(error)}{_what_to_do(error)}".split())


def _sentence(error: WattAwayError | OSError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f' ({error.filename})' if error.filename else ''}; make room, then start again"
    return str(error)


def _what_to_do(error: WattAwayError | OSError) -> str:
    if not isinstance(error, DependencyUnavailable) or isinstance(error, ChildFailed):
        return ""
    setting = _NAMED_BY.get(error.dependency)
    if setting is None:
        return ""
    return f"; see that it runs and that {setting} names it (`wattaway up` brings servers of its own)"
