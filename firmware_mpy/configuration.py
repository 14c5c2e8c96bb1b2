"""The configuration that the engine wants: read, checked, tried, and put back if the socket cannot work with it.

Source: docs/protocol.md, "Command".
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from records import Record

_RANGES = (
    ("interval_ms", 1_000, 3_600_000),
    ("max_power_mw", 1_000, 8_000_000),
    ("max_current_ma", 10, 20_000),
    ("min_voltage_mv", 0, 400_000),
    ("max_voltage_mv", 0, 400_000),
    ("max_temperature_mc", 30_000, 120_000),
)
_POWER_ON = (None, "off", "on", "last", "outage-aware")


def is_readable(config: "object") -> bool:
    """Say whether every known member has its type and range; unknown ones are ignored, null is as absent."""
    if not isinstance(config, dict):
        return False
    for name, low, high in _RANGES:
        value = config.get(name)
        if value is not None and not (type(value) is int and low <= value <= high):
            return False
    zone = config.get("time_zone")
    if config.get("power_on") not in _POWER_ON:
        return False
    return zone is None or (isinstance(zone, str) and len(zone) <= 64)


class Configuration:
    """
    Args:
        record: keeps it (`load()`, `save(bytes)`).
        limits: of the board, that no configuration may lift (`max_power_mw`, `max_current_ma`, `max_temperature_mc`).
        apply: called with the members; raises ValueError if the socket cannot work so, and is called with the ones
            before then.
    """

    def __init__(self, record: "Record", limits: dict, apply: "Callable[..., Any]") -> None:
        self._record, self._limits, self._apply = record, limits, apply
        self.members, self.version = {}, 0
        kept = record.load()
        if kept:
            try:
                found = json.loads(kept)
                config, version = found["config"], found["version"]
            except (ValueError, KeyError, TypeError):
                # Kept by a firmware that wrote it otherwise: no reason never to start again.
                config, version = None, 0
            if is_readable(config) and self._is_sound(config):
                self.members, self.version = config, version
        try:
            apply(self.members)
        except ValueError:
            # Kept by another firmware, or for another board.
            self.members, self.version = {}, 0
            apply(self.members)

    def take(self, config: dict, version: int) -> bool:
        """Take a configuration as a whole; whether it holds now. An older version than the present one does not."""
        if version < self.version or not self._is_sound(config):
            return False
        before = self.members
        known = [name for name, _, _ in _RANGES] + ["power_on", "time_zone"]
        members = {name: config[name] for name in known if config.get(name) is not None}
        try:
            self._apply(members)
            self._record.save(json.dumps({"config": members, "version": version}).encode())
        except (ValueError, OSError):
            self._apply(before)
            return False
        self.members, self.version = members, version
        return True

    def _is_sound(self, config: dict) -> bool:
        for name, most in self._limits.items():
            value = config.get(name)
            if value is not None and value > most:
                return False
        low, high = config.get("min_voltage_mv"), config.get("max_voltage_mv")
        return low is None or high is None or low < high
