"""Pure parts of the firmware put together to single calls, for comparisons of MicroPython with CPython."""

import bl0942
import configuration
import cse7766
import delivery
import mqtt_packets
import readings
from clock import Dating
from flash import SECTOR_SIZE, Flash
from frames import FrameFinder
from records import Record


def read_packet(packet: bytes) -> "list[object]":
    """Return what a socket reads of a broker's packet: type, length, and topic, id and payload of a PUBLISH."""
    lengths, at = mqtt_packets.LengthReader(), 1
    while not lengths.take(packet[at]):
        at += 1
    kind = mqtt_packets.check_head(packet[0], lengths.length)
    said = [kind, lengths.length]
    if kind == mqtt_packets.PUBLISH:
        body = packet[at + 1 :]
        if len(body) < lengths.length:
            raise EOFError
        topic, packet_id, start = mqtt_packets.publish_parts(packet[0], body, lengths.length)
        said += [topic, packet_id, body[start : lengths.length]]
    return said


def encode(boot: int, seq: int, members: dict, time_ms: int, dated: bool, base_ms: "int | None") -> bytes:
    """Return a reading as it travels, by way of its record in flash."""
    return readings.encode(boot, seq, readings.pack(members, time_ms, dated), base_ms)


def read_receipt(payload: bytes) -> "tuple[int, list[list[int]]]":
    """Return boot and ranges of a receipt."""
    return delivery.read_receipt(payload)


def found(chip: str, stream: bytes, cut: int) -> "list[object]":
    """Return the frames of a metering chip in a stream that arrives in pieces of `cut` bytes."""
    module = {"cse7766": cse7766, "bl0942": bl0942}[chip]
    finder = FrameFinder(module.FRAME_SIZE, module.read_frame)
    frames = []
    for at in range(0, len(stream), cut):
        frames += finder.feed(stream[at : at + cut])
    return [frames, finder.skipped]


def date(steps: "list[list[int | None]]", asked: "list[int]") -> "list[int | None]":
    """Return when boots began, as kept after starts of (boot, base); without a base its readings left undated."""
    record = Record(Flash(2 * SECTOR_SIZE), 0, 128)
    for boot, base_ms in steps:
        dating = Dating(record, boot)
        if base_ms is None:
            dating.leave_undated()
        else:
            dating.fix(base_ms)
    dating = Dating(record, 0)
    return [dating.base_ms(boot) for boot in asked]


def configure(tries: "list[list[object]]") -> "list[object]":
    """Return which of (configuration, version) were taken, and what holds after a restart."""
    record, limits = Record(Flash(2 * SECTOR_SIZE), 0, 1024), {"max_power_mw": 3_680_000, "max_current_ma": 16_000}
    settings = configuration.Configuration(record, limits, _apply)
    taken = []
    for config, version in tries:
        taken.append(configuration.is_readable(config) and settings.take(config, version))
    settings = configuration.Configuration(record, limits, _apply)
    return [taken, sorted(settings.members.items()), settings.version]


def _apply(members: dict) -> None:
    if members.get("power_on") == "last" and members.get("interval_ms") == 1_000:
        raise ValueError("cannot")
