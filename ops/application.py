"""The application made of the settings: what decides about people and sockets, on the settings' event store."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bridges.event_hints import HintPublisher, hint_channel
from bridges.event_store import EventDatabase, EventStoreFactory
from bridges.image_store import SqlImageStore
from domain.clock import SystemClock
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal
from domain.lifecycle.publishing import Publishing
from domain.lifecycle.sockets import Sockets
from domain.lifecycle.tenancy import Tenancy
from ops.settings import Settings
from ops.wiring import event_engines, firmware_keys, key_store, master_key


@dataclass(frozen=True)
class Application:
    """Blocking: call it in a thread where a loop runs."""

    database: EventDatabase
    lifecycle: Lifecycle
    personal: Personal
    accounts: Accounts
    tenancy: Tenancy
    sockets: Sockets
    firmware: Publishing


@contextmanager
def open_application(settings: Settings) -> Iterator[Application]:
    """The application until the end of the block; what it stores is hinted to whoever follows the log.

    Raises:
        SettingInvalid: `wattaway migrate` has to be run first, or there are no keys where WATTAWAY_FIRMWARE_KEYS says.
        DependencyUnavailable: the event store is out of reach.
    """
    with ExitStack() as stack:
        engines = event_engines(settings)
        for engine in engines:
            stack.callback(engine.dispose)
        database = EventDatabase(*engines)
        hints = HintPublisher(settings.resolved_redis_url(), hint_channel(settings.redis_prefix))
        stack.callback(hints.close)
        stack.callback(database.tell(hints))
        personal = Personal(key_store(settings, database))
        lifecycle = Lifecycle(EventStoreFactory(None, database))
        stack.callback(lifecycle.close)
        yield Application(
            database,
            lifecycle,
            personal,
            Accounts(lifecycle, personal, sign_in_name_key(master_key(settings))),
            Tenancy(lifecycle, personal),
            Sockets(lifecycle, personal),
            Publishing(lifecycle, SqlImageStore(database, SystemClock()), firmware_keys(settings)),
        )


def sign_in_name_key(master: bytes) -> bytes:
    """What keys the hashes of sign-in names; another than the master key, which it follows from."""
    return hmac.new(master, b"sign-in names", hashlib.sha256).digest()
