"""What must be true after any fault: nothing receipted is missing, nothing is doubled, the order holds, and the read
models are what the log says."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from sqlalchemy import Engine, create_engine, select

from domain.errors import EventRejected
from domain.events import DEAD_LETTERS_TOPIC, READINGS_TOPIC, REPORTS_TOPIC, DeadLettered, Event, ReadingRecorded
from ops.read_models import verify_read_models
from projections.tables import read_model
from tests.faults.fleet import ReadingId
from tests.log_reader import read_log
from tests.servers import World

_CATCH_UP_S = 90.0


def judge_log(world: World, receipted: Iterable[ReadingId], *, in_order: bool = True) -> None:
    """Every receipted reading stands in the log, and of each boot the first record of each reading in order.

    Args:
        in_order: False where older readings may come after newer ones.
    """
    logged = logged_ids(world)
    missing = set(receipted) - set(logged)
    assert not missing, f"{len(missing)} receipted readings are not in the log, such as {sorted(missing)[:3]}"
    if in_order:
        assert_in_order(logged)


def judge_read_models(world: World) -> None:
    """Once the projector has caught up, the read models hold each reading of the log once, and equal a rebuild."""
    wait_until_projected(world)
    assert_held_once(world, set(logged_ids(world)))
    verdict = verify_read_models(world.settings)
    assert verdict.ok, str(verdict)
    assert verdict.lag_records == 0, str(verdict)


def logged_ids(world: World) -> list[ReadingId]:
    """The identities of the readings in the log, per partition in order; doubles are allowed there."""
    events = _events(world, READINGS_TOPIC)
    return [ReadingId(one.device_id, one.boot, one.seq) for one in events if isinstance(one, ReadingRecorded)]


def wait_until_logged(world: World, expected: set[ReadingId], *, within_s: float = 30) -> None:
    """Return once all of these stand in the log."""
    deadline = time.monotonic() + within_s
    while missing := expected - set(logged_ids(world)):
        assert time.monotonic() < deadline, f"{len(missing)} readings are not in the log, such as {sorted(missing)[:3]}"


def refused_bytes(world: World) -> list[bytes]:
    """What the read models hold as dead letters, byte by byte."""
    table = read_model().dead_letters
    engine = _engine(world)
    try:
        with engine.connect() as connection:
            return [bytes(raw) for (raw,) in connection.execute(select(table.c.raw))]
    finally:
        engine.dispose()


def dead_letters(world: World) -> list[DeadLettered]:
    """What the bridge refused, as it stands in the log."""
    return [one for one in _events(world, DEAD_LETTERS_TOPIC) if isinstance(one, DeadLettered)]


def _events(world: World, topic: str) -> Iterator[Event]:
    """The events of a topic; what is none of ours is the dead letters' matter."""
    for record in asyncio.run(read_log(world, topic)):
        with suppress(EventRejected):
            yield record.event()


def assert_in_order(logged: Sequence[ReadingId]) -> None:
    """Of each boot of each device, the readings come first in rising order (a later double does no harm)."""
    newest: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    seen: set[ReadingId] = set()
    for one in logged:
        if one in seen:
            continue
        seen.add(one)
        assert one.seq > newest[one[:2]], f"{one} came after {newest[one[:2]]}"
        newest[one[:2]] = one.seq


def assert_held_once(world: World, expected: set[ReadingId]) -> None:
    """The read models hold exactly these readings, each once."""
    held = held_ids(world)
    assert len(held) == len(set(held)), f"{len(held) - len(set(held))} readings are held twice"
    missing, invented = expected - set(held), set(held) - expected
    assert not missing, f"{len(missing)} readings of the log are not in the read models, such as {sorted(missing)[:3]}"
    assert not invented, f"{len(invented)} readings were never in the log, such as {sorted(invented)[:3]}"


def held_ids(world: World) -> list[ReadingId]:
    """The readings in the read models."""
    model = read_model()
    query = select(model.devices.c.device_id, model.readings.c.boot, model.readings.c.seq).join(
        model.readings, model.readings.c.device_ref == model.devices.c.device_ref
    )
    engine = _engine(world)
    try:
        with engine.connect() as connection:
            return [ReadingId(device_id, f"{boot:08x}", seq) for device_id, boot, seq in connection.execute(query)]
    finally:
        engine.dispose()


def wait_until_projected(world: World, *, within_s: float = _CATCH_UP_S) -> None:
    """Return once the stored positions are at the end of the log."""
    ends = asyncio.run(_ends(world))
    deadline = time.monotonic() + within_s
    engine = _engine(world)
    try:
        while behind := {place: end for place, end in ends.items() if _positions(engine).get(place, 0) < end}:
            assert time.monotonic() < deadline, f"after {within_s:g} s not projected up to {behind}"
            time.sleep(0.1)
    finally:
        engine.dispose()


async def _ends(world: World) -> dict[tuple[str, int], int]:
    """Where the log ends now, by topic (without the prefix) and partition."""
    ends: dict[tuple[str, int], int] = {}
    for record in await read_log(world, READINGS_TOPIC, REPORTS_TOPIC, DEAD_LETTERS_TOPIC):
        place = (record.topic, record.partition)
        ends[place] = max(ends.get(place, 0), record.offset + 1)
    return ends


def _positions(engine: Engine) -> dict[tuple[str, int], int]:
    """What the projector has stored, by topic (without the prefix) and partition."""
    table = read_model().consumer_positions
    with engine.connect() as connection:
        rows = connection.execute(select(table.c.topic, table.c.log_partition, table.c.next_offset))
        return {(_without_prefix(topic), partition): offset for topic, partition, offset in rows}


def _without_prefix(topic: str) -> str:
    return topic[topic.index("wattaway.") :]


def _engine(world: World) -> Engine:
    return create_engine(world.settings.resolved_database_url())
