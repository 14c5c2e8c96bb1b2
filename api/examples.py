"""Example answers for OpenAPI; a test holds each against its model."""

from __future__ import annotations

from typing import Any

READING: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "boot": "9f3a61c2",
    "seq": 17,
    "measured_at": "2026-11-23T17:00:00.123000Z",
    "received_at": "2026-11-23T17:00:00.210000Z",
    "power_w": 98.2,
    "voltage_v": 230.1,
    "current_a": 0.431,
    "energy_wh": 123456.789,
    "relay": True,
    "temperature_c": 41.2,
    "rssi_dbm": -61,
}
DEVICE: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "name": "Kettle",
    "location": "Kitchen",
    "tenant_id": "7c1f2c52-8a35-4d0c-9a6b-5a2f7b1d9e10",
    "may": ["see", "switch", "configure", "describe", "rotate_token"],
    "config_desired_version": 7,
    "online": True,
    "last_seen_at": "2026-11-23T17:00:00.210Z",
    "first_seen_at": "2026-11-01T08:00:00.000Z",
    "boot": "9f3a61c2",
    "firmware": "1.4.0",
    "config": 7,
    "latest": READING,
}
DEVICES: dict[str, Any] = {"items": [DEVICE], "next_cursor": "WyJraXRjaGVuLWtldHRsZSJd"}
LATEST: dict[str, Any] = {"items": [READING], "missing": ["garage-heater"]}
SERIES: dict[str, Any] = {
    "device_id": "kitchen-kettle",
    "resolution": "15m",
    "from": "2026-11-22T17:00:00.000Z",
    "to": "2026-11-23T17:00:00.000Z",
    "time_zone": "Europe/Berlin",
    "next_cursor": "WyIxNW0iLDE3OTUzNjY4MDAwMDAsMTc5NTQ1MzIwMDAwMCxudWxsXQ",
    "points": [
        {
            "at": "2026-11-22T17:00:00.000Z",
            "power_mean_w": 412.118,
            "power_min_w": 0.4,
            "power_max_w": 2010.5,
            "energy_wh": 103.2,
            "readings": 90,
        }
    ],
}
DAY: dict[str, Any] = {
    "day": "2026-11-23",
    "starts_at": "2026-11-22T23:00:00.000Z",
    "ends_at": "2026-11-23T23:00:00.000Z",
    "energy_wh": 1204.25,
    "power_mean_w": 66.9,
    "power_min_w": 0.4,
    "power_max_w": 2010.5,
    "readings": 6480,
    "coverage": 0.9861,
    "first_at": "2026-11-22T23:00:04.120Z",
    "last_at": "2026-11-23T17:00:00.123Z",
    "computed_at": "2026-11-23T17:00:01.000Z",
}
DAILY: dict[str, Any] = {"device_id": "kitchen-kettle", "time_zone": "Europe/Berlin", "items": [DAY]}
FLEET: dict[str, Any] = {
    "at": "2026-11-23T17:00:00.000Z",
    "time_zone": "Europe/Berlin",
    "devices": 20,
    "online": 19,
    "power_w": 3120.4,
    "energy_today_wh": 18204.1,
    "dead_letters": 3,
    "dead_letters_24h": 1,
    "readings_per_min": 1200.0,
}
DEAD_LETTER: dict[str, Any] = {
    "topic": "dead-letters",
    "partition": 2,
    "offset": 41,
    "received_at": "2026-11-23T16:59:00.000Z",
    "device_id": "kitchen-kettle",
    "boot": "9f3a61c2",
    "seq": 18,
    "reason": "clock_ahead",
    "detail": "`at` is 61000 ms beyond the 2 min allowed",
    "origin": "mqtt:devices/kitchen-kettle/data",
    "raw_bytes": 214,
    "raw_url": "/api/v1/dead-letters/dead-letters/2/41/raw",
}
DEAD_LETTERS: dict[str, Any] = {
    "items": [DEAD_LETTER],
    "next_cursor": "WzE3OTU0NTMxNDAwMDAsImRlYWQtbGV0dGVycyIsMiw0MV0",
}
READINESS: dict[str, Any] = {
    "status": "ready",
    "dependencies": [
        {"name": "database", "ok": True, "latency_ms": 0.8, "detail": "sqlite 3.40.1"},
        {"name": "redis", "ok": True, "latency_ms": 0.4, "detail": "views are complete"},
    ],
}
HEALTH: dict[str, Any] = {"status": "ok"}
CSV = (
    "at,power_mean_w,power_min_w,power_max_w,energy_wh,readings\r\n"
    "2026-11-22T17:00:00.000Z,412.118,0.4,2010.5,103.2,90\r\n"
)
