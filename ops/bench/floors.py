"""The bare floors of one way, and which of our figures each of them is the yardstick for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ops.bench.mqtt_floor import mosquitto_tools_per_s, raw_mqtt_per_s
from ops.bench.results import BenchReport, Figure
from ops.bench.store_floors import raw_insert_per_s, raw_kafka_per_s, raw_redis_per_s
from ops.bench.ways import Way

_COUNT = 50_000
_TOOLS_COUNT = 20_000
# How a figure begins, and its floor: the quickest way into its store, or out of the log.
_FLOORS_OF = (
    ("sustained end to end, single", "raw MQTT QoS 1"),
    ("sustained end to end, backlog", "LOAD DATA"),
    ("sustained end to end, backlog", "sqlite3 insert"),
    ("rebuild", "bare aiokafka consume"),
)


@dataclass
class Floors:
    """Each floor a second, by name."""

    per_s: dict[str, float] = field(default_factory=dict)

    def attach(self, way: str, report: BenchReport) -> None:
        """Add the floors to the report, and put a figure's floor beside it."""
        for number, figure in enumerate(report.figures):
            if figure.way == way and (name := self._floor_of(figure.name)):
                report.figures[number] = msgspec.structs.replace(figure, floor=self.per_s[name], floor_name=name)
        for name, value in self.per_s.items():
            report.add(Figure(way, f"floor: {name}", value, "/s"))

    def _floor_of(self, figure: str) -> str:
        return next((name for start, name in _FLOORS_OF if figure.startswith(start) and name in self.per_s), "")


async def measure_floors(way: Way, device_ids: Sequence[str], scratch: Path) -> Floors:
    """Measure them while no role runs."""
    floors = Floors()
    floors.per_s["raw MQTT QoS 1"] = await raw_mqtt_per_s(way, _COUNT, device_ids)
    tools = await mosquitto_tools_per_s(way, _TOOLS_COUNT, device_ids[0], scratch)
    if tools is not None:
        floors.per_s["mosquitto_pub → mosquitto_sub"] = tools
    for name, value in (await raw_kafka_per_s(way, _COUNT)).items():
        floors.per_s[f"bare aiokafka {name}"] = value
    floors.per_s |= await asyncio.to_thread(raw_insert_per_s, way, _COUNT, scratch)
    floors.per_s["Redis pipelined HSET"] = await asyncio.to_thread(raw_redis_per_s, way, _COUNT)
    return floors
