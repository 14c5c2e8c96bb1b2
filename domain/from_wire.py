"""From the wire to the log: the events and Kafka records of what sockets sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.clock import to_instant
from domain.data_payload import newest_ups
from domain.events import (
    CommandReported,
    DeviceEventReported,
    PresenceChanged,
    ReadingRecorded,
    Record,
    Report,
    encode_reading_record,
    source_header,
)
from domain.wire import CommandReport, DeviceEventReport, PresenceReport, StatusReport, WireReading


def _recorded(device_id: str, reading: WireReading, measured_at: datetime, received_at: datetime) -> ReadingRecorded:
    # One look-up per member: this runs for every reading.
    voltage_mv, current_ma, energy_mwh = reading.voltage_mv, reading.current_ma, reading.energy_mwh
    temperature_mc = reading.temperature_mc
    return ReadingRecorded(
        device_id,
        reading.boot,
        reading.seq,
        measured_at,
        received_at,
        reading.power_mw / 1000,
        None if voltage_mv is None else voltage_mv / 1000,
        None if current_ma is None else current_ma / 1000,
        None if energy_mwh is None else energy_mwh / 1000,
        reading.relay,
        None if temperature_mc is None else temperature_mc / 1000,
        reading.rssi_dbm,
        reading.up,
    )


def reading_records(device_id: str, readings: Sequence[WireReading], *, received_at_ms: int) -> list[Record]:
    """The Kafka records of one payload's accepted readings, in their order."""
    key, source, received_at = device_id.encode(), source_header(device_id), to_instant(received_at_ms)
    newest_up_ms: dict[str, int] | None = None
    records: list[Record] = []
    for reading in readings:
        at_ms = reading.at
        if at_ms is None:
            newest_up_ms = newest_ups(readings) if newest_up_ms is None else newest_up_ms
            at_ms = max(0, received_at_ms - (newest_up_ms[reading.boot] - (reading.up or 0)))
        event = _recorded(device_id, reading, to_instant(at_ms), received_at)
        records.append(encode_reading_record(event, key, source, at_ms))
    return records


def report_of(device_id: str, report: StatusReport, *, received_at_ms: int, retained: bool = False) -> Report:
    """The event of a status payload; `retained` if the broker had kept it."""
    received_at = to_instant(received_at_ms)
    match report:
        case PresenceReport():
            said = report.boot, report.firmware, report.config
            return PresenceChanged(device_id, report.online, received_at, *said, retained=retained)
        case CommandReport():
            return CommandReported(
                device_id,
                report.command,
                report.result,
                received_at,
                report.relay,
                report.reason,
                None if report.at is None else to_instant(report.at),
            )
        case DeviceEventReport():
            reported_at = None if report.at is None else to_instant(report.at)
            return DeviceEventReported(device_id, report.event, received_at, reported_at, report.details)
