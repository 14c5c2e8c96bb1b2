"""A reading as the 34 bytes that the flash ring keeps, and as the JSON of the wire; integers all the way.

Source: docs/protocol.md, "Data".
"""

import struct

_LAYOUT = "<BqIIIQiB"
_AT, _RELAY_KNOWN, _RELAY, _VOLTAGE, _CURRENT, _ENERGY, _TEMPERATURE, _RSSI = 1, 2, 4, 8, 16, 32, 64, 128
_OPTIONAL = (
    (_VOLTAGE, "voltage_mv", 0, 400_000),
    (_CURRENT, "current_ma", 0, 20_000),
    (_ENERGY, "energy_mwh", 0, 10**13),
    (_TEMPERATURE, "temperature_mc", -60_000, 200_000),
    (_RSSI, "rssi_dbm", -130, 0),
)
MAX_POWER_MW = 8_000_000
JSON_BYTES_MAX = 256


def pack(reading: dict, time_ms: int, dated: bool) -> bytes:
    """Return a reading's record.

    Args:
        reading: members of the wire but `boot`, `seq`, `at` and `up`; what is out of the wire's range is left out, and
            a power beyond it is told as its limit, since the engine would refuse the whole reading.
        time_ms: ms since 1970 if `dated`, else ms since boot.
    """
    flags, values = (_AT if dated else 0), {}
    for flag, name, low, high in _OPTIONAL:
        value = reading.get(name)
        if value is not None and low <= value <= high:
            flags |= flag
            values[name] = value
    relay = reading.get("relay")
    if relay is not None:
        flags |= _RELAY_KNOWN | (_RELAY if relay else 0)
    return struct.pack(
        _LAYOUT,
        flags,
        time_ms,
        values.get("voltage_mv", 0),
        values.get("current_ma", 0),
        min(max(reading["power_mw"], 0), MAX_POWER_MW),
        values.get("energy_mwh", 0),
        values.get("temperature_mc", 0),
        # From -130 to 0, which a signed byte cannot hold.
        values.get("rssi_dbm", 0) & 255,
    )


def encode(boot: int, seq: int, record: bytes, base_ms: "int | None") -> bytes:
    """Return a record as one JSON object.

    Args:
        base_ms: when `boot` began, in ms since 1970, to date a reading that has only its uptime; None: it stays so.
    """
    flags, time_ms, voltage, current, power, energy, temperature, rssi = struct.unpack(_LAYOUT, record)
    name = "at" if flags & _AT else "up"
    if name == "up" and base_ms is not None:
        name, time_ms = "at", base_ms + time_ms
    text = f'{{"boot":"{boot:08x}","seq":{seq},"{name}":{time_ms}'
    if flags & _VOLTAGE:
        text += f',"voltage_mv":{voltage}'
    if flags & _CURRENT:
        text += f',"current_ma":{current}'
    text += f',"power_mw":{power}'
    if flags & _ENERGY:
        text += f',"energy_mwh":{energy}'
    if flags & _RELAY_KNOWN:
        text += ',"relay":true' if flags & _RELAY else ',"relay":false'
    if flags & _TEMPERATURE:
        text += f',"temperature_mc":{temperature}'
    if flags & _RSSI:
        text += f',"rssi_dbm":{rssi - 256 if rssi else 0}'
    return (text + "}").encode()
