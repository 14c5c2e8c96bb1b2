"""How far the read models have come in each partition of the log, and the fence that this makes.

A position is moved on in the transaction that writes what it stands for, and only from where its holder left it. Who
finds it elsewhere (another projector went on, a rebuild swapped the tables) is fenced: nothing of his is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from domain.errors import LogReplaced, PositionFenced
from projections.dialect import is_mysql, put
from projections.folded import Place
from projections.tables import ReadModel


class Position(NamedTuple):
    """Where to go on in a partition."""

    next_offset: int
    generation: str
    """Names the set of tables: a rebuilt one may by chance stand at the same offset."""
    topic_id: str


LIVE = "live"


def read_positions(connection: Connection, model: ReadModel, group: str) -> dict[Place, Position]:
    """All positions of the group."""
    table = model.consumer_positions.c
    query = select(table.topic, table.log_partition, table.next_offset, table.generation, table.topic_id)
    rows = connection.execute(query.where(table.consumer_group == group))
    return {(row[0], row[1]): Position(row[2], row[3], row[4]) for row in rows}


def tables_generation(connection: Connection, model: ReadModel) -> str:
    """The name of this set of tables: of their first partition, because those that the log gets later are `LIVE`."""
    table = model.consumer_positions.c
    query = select(table.generation).order_by(table.consumer_group, table.topic, table.log_partition).limit(1)
    return connection.execute(query).scalar() or LIVE


def begin_positions(
    connection: Connection,
    model: ReadModel,
    group: str,
    starts: Mapping[Place, int],
    topic_ids: Mapping[str, str],
    generation: str = LIVE,
) -> None:
    """Store the start of each partition that has no position yet."""
    rows = [
        (group, topic, partition, topic_ids[topic], offset, generation)
        for (topic, partition), offset in sorted(starts.items())
    ]
    put(connection, model.consumer_positions, rows, replace=False)


def advance_positions(
    connection: Connection, model: ReadModel, group: str, held: Mapping[Place, Position], to: Mapping[Place, int]
) -> None:
    """Move the positions on.

    Raises:
        PositionFenced: one is not where it is held to be.
    """
    mark = "%s" if is_mysql(connection) else "?"
    sql = (
        f"UPDATE {model.consumer_positions.name} SET next_offset = {mark} WHERE consumer_group = {mark} "
        f"AND topic = {mark} AND log_partition = {mark} AND next_offset = {mark} AND generation = {mark}"
    )
    for place in sorted(to):
        position = held[place]
        values = (to[place], group, *place, position.next_offset, position.generation)
        if connection.exec_driver_sql(sql, values).rowcount != 1:
            raise PositionFenced(f"{place[0]}/{place[1]} is not at {position.next_offset} any more")


def check_topic_ids(positions: Mapping[Place, Position], topic_ids: Mapping[str, str], places: Iterable[Place]) -> None:
    """Return if these partitions are still those the positions were stored for.

    Raises:
        LogReplaced: a topic was deleted and made anew.
    """
    for place in places:
        position = positions.get(place)
        if position is not None and position.topic_id != topic_ids[place[0]]:
            raise LogReplaced(
                f"the Kafka topic {place[0]} was made anew (id {topic_ids[place[0]]}) since the read models were "
                f"filled from the one with id {position.topic_id}: point at the right Kafka, or run `wattaway rebuild` "
                "to fill the read models from this one"
            )


def check_offsets(positions: Mapping[Place, Position], starts: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
    """Return if the log still holds what comes next in each partition.

    Raises:
        LogReplaced: it ends before, or begins after, the stored position.
    """
    for place, start in starts.items():
        offset = positions[place].next_offset
        if offset > ends[place]:
            raise LogReplaced(
                f"{place[0]}/{place[1]} ends at {ends[place]}, before the stored position {offset}: the log has lost "
                "records; run `wattaway rebuild` to make the read models equal to what it holds now"
            )
        if offset < start:
            raise LogReplaced(
                f"{place[0]}/{place[1]} begins at {start}, behind the stored position {offset}: records expired before "
                "they were projected; run `wattaway rebuild` to go on with what the log still holds"
            )
