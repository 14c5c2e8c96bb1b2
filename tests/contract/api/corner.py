"""One test's API: a running server, its tables and its Redis keys, and what a test needs to fill them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import Engine, insert

from api.buckets import Bucket
from api.readings import reading_document
from api.services import Services
from bridges.lifecycle_records import lifecycle_record
from domain.clock import to_ms
from projections.lifecycle_folds import decode_lifecycle_record, fold_lifecycle_event
from projections.lifecycle_store import write_decided
from projections.tables import device_ref_of, read_model
from tests.contract.api import series_oracle
from tests.contract.api.members import Member, Members, bearer, sign_in

NOBODY = Member("", "", "", "")
BERLIN = ZoneInfo("Europe/Berlin")


class MovableClock:
    """A clock that a test sets."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


def reading(at_ms: int, power_mw: int, **more: Any) -> SimpleNamespace:
    """A reading's row without its device; what is not said is unknown."""
    row = {
        "measured_at_ms": at_ms,
        "boot": 0x9F3A61C2,
        "seq": at_ms // 1000,
        "received_at_ms": at_ms + 80,
        "power_mw": power_mw,
        "voltage_mv": None,
        "current_ma": None,
        "energy_mwh": None,
        "relay": None,
        "temperature_mc": None,
        "rssi_dbm": None,
    }
    return SimpleNamespace(**{**row, **more})


@dataclass
class ApiCorner:
    """A test's own API."""

    client: httpx.AsyncClient
    engine: Engine
    redis: Redis
    prefix: str
    clock: MovableClock
    base_url: str
    members: Members
    new_client: Callable[[], httpx.AsyncClient]
    services: Services
    app: FastAPI
    owner: Member = NOBODY
    token: str = ""
    readings: dict[str, list[SimpleNamespace]] = field(default_factory=dict)
    _refs: dict[str, int] = field(default_factory=dict)
    _clients: list[httpx.AsyncClient] = field(default_factory=list)

    def stranger(self) -> httpx.AsyncClient:
        """A client that says not who it is."""
        self._clients.append(self.new_client())
        return self._clients[-1]

    def program(self, token: str) -> httpx.AsyncClient:
        """A client with a token."""
        client = self.stranger()
        client.headers.update(bearer(token))
        return client

    async def person(self, member: Member | None = None) -> httpx.AsyncClient:
        """A client with a session, the owner's unless said otherwise."""
        client = self.stranger()
        await sign_in(client, member or self.owner)
        return client

    async def close(self) -> None:
        for client in (self.client, *self._clients):
            await client.aclose()

    def add_device(self, device_id: str, **presence: Any) -> int:
        """A device of the owner's, and its row in `devices`."""
        self.members.register(self.owner.tenant_id, device_id)
        device_ref = device_ref_of(device_id)
        self._refs[device_id] = device_ref
        row = {"online": None, "presence_at_ms": None, "boot": None, "firmware": None, "config": None, **presence}
        row |= {"device_ref": device_ref, "device_id": device_id, "first_seen_at_ms": 1_000}
        with self.engine.begin() as connection:
            connection.execute(insert(read_model().devices), [row])
        return device_ref

    def add_readings(self, device_id: str, readings: Sequence[SimpleNamespace], *, mark_dirty: bool = True) -> None:
        """Rows in `readings`, and their buckets in the dirty set, as the projector leaves them."""
        device_ref = self._refs[device_id]
        self.readings.setdefault(device_id, []).extend(readings)
        model = read_model()
        dirty = {row.measured_at_ms // 900_000 * 900_000 for row in readings} if mark_dirty else set()
        with self.engine.begin() as connection:
            connection.execute(insert(model.readings), [{"device_ref": device_ref, **vars(row)} for row in readings])
            known = set(connection.execute(model.dirty_buckets.select()).all())
            marks = [{"device_ref": device_ref, "bucket_at_ms": at} for at in dirty if (device_ref, at) not in known]
            if marks:
                connection.execute(insert(model.dirty_buckets), marks)

    def roll_up(self, device_id: str) -> None:
        """Make every bucket of the device clean."""
        model, device_ref = read_model(), self._refs[device_id]
        parts = self.quarters(device_id)
        tables = {
            model.rollups_15m: parts,
            model.rollups_1h: series_oracle.wide(parts, BERLIN, days=False),
            model.rollups_1d: series_oracle.wide(parts, BERLIN, days=True),
        }
        with self.engine.begin() as connection:
            connection.execute(model.dirty_buckets.delete().where(model.dirty_buckets.c.device_ref == device_ref))
            for table, buckets in tables.items():
                connection.execute(table.delete().where(table.c.device_ref == device_ref))
                connection.execute(insert(table), [{"device_ref": device_ref, **b._asdict()} for b in buckets])

    def quarters(self, device_id: str) -> list[Bucket]:
        """What the device's 15-minute buckets must be."""
        return series_oracle.quarters(self.readings[device_id])

    async def show_latest(self, device_id: str, *, complete: bool = True) -> bytes:
        """Put the device's newest reading into Redis, as the projector does."""
        newest = max(self.readings[device_id], key=lambda r: (r.measured_at_ms, r.boot, r.seq))
        document = reading_document(device_id, newest)  # type: ignore[arg-type]
        await self.redis.hset(f"{self.prefix}latest", device_id, document)
        if complete:
            await self.redis.set(f"{self.prefix}generation", "1")
        return document

    async def publish(self, kind: str, items: Iterable[bytes]) -> None:
        """What the projector says on the live channel."""
        await self.redis.publish(
            f"{self.prefix}live", b'{"type":"%b","items":[%b]}' % (kind.encode(), b",".join(items))
        )

    def project(self) -> None:
        """Bring all that was decided into the read models, as the projector does."""
        lifecycle = self.members.application.lifecycle
        records = [lifecycle_record(one, 0) for one in lifecycle.log_recorder.select_notifications(1, 10_000)]
        folded = [fold_lifecycle_event(*decode_lifecycle_record(one.value, one.headers)) for one in records]
        with self.engine.begin() as connection:
            write_decided(connection, read_model(), folded)

    async def get(self, path: str, *, status: int = 200, **parameters: Any) -> Any:
        """The JSON answer of a GET below `/api/v1`."""
        answer = await self.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == status, answer.text
        return answer.json()


def instant_ms(text: str) -> int:
    """RFC 3339 → ms."""
    from datetime import datetime

    return to_ms(datetime.fromisoformat(text))
