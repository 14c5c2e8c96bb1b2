"""Obeys commands: each id once, also over a restart; none that has expired; a doubled one is answered again.

An id is remembered, in flash, before its command acts: a power cut between the two loses an action, but none happens
twice. Source: docs/protocol.md, "Command".
"""

import hashlib
import struct

import configuration
from strict_json import NotJson, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from application import Application
    from clock import Clock
    from records import Record

REMEMBERED = 64
_TYPES = ("switch", "toggle", "restart", "identify", "configure", "calibrate")
_AT_MAX_MS = 4_102_444_800_000
_VERSION_MAX = 1 << 53
# What an answer can be; the index is what the memory keeps.
_REASONS = ("", "expired", "tripped", "config", "load_on", "safe_mode", "unsteady", "too_far_off", "not_kept")
_EXPIRED, _CONFIG, _LOAD_ON = 1, 3, 4
_CELL = "<8sBq"
_CELL_SIZE = struct.calcsize("<8sBq")
_RELAY_KNOWN, _RELAY_ON = 0x40, 0x80


def read(payload: "bytes | memoryview") -> "dict | None":
    """Return a command's members, or None if it is none that this socket can read."""
    try:
        command = parse(payload)
    except NotJson:
        return None
    if not isinstance(command, dict) or command.get("type") not in _TYPES:
        return None
    name, expires_at = command.get("id"), command.get("expires_at")
    if not isinstance(name, str) or not 0 < len(name) <= 64 or not _whole(expires_at, 0, _AT_MAX_MS):
        return None
    relay, config, version = command.get("relay"), command.get("config"), command.get("version")
    if not (relay is None or isinstance(relay, bool)) or (relay is None and command["type"] == "switch"):
        return None
    if not (version is None or _whole(version, 1, _VERSION_MAX)):
        return None
    if not (config is None or configuration.is_readable(config)):
        return None
    if command["type"] == "configure" and (config is None or version is None):
        return None
    if command["type"] == "calibrate" or command.get("reference") is not None:
        from calibrating import is_readable

        return command if is_readable(command.get("reference")) else None
    return command


def _whole(value: "object", low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


class Commands:
    """
    Args:
        record: keeps the memory (`load()`, `save(bytes)`): 64 times 17 bytes.
        clock: `now_ms()` may be None; then nothing counts as expired.
        socket: does it. `relay` (whether it is closed), `refusal(closed)` (why it must not be closed or opened: a
            reason of the protocol, empty if it may), `switch(closed)`, `identify()`, `restart()` (after the answer was
            sent; only with the load off), `configure(config, version)`, which says whether it was taken, and
            `calibrate(reference)`, which says why it was not.

    Attributes:
        unkept: answers that the flash did not take.
    """

    def __init__(self, record: "Record", clock: "Clock", socket: "Application") -> None:
        self._record, self._clock, self._socket = record, clock, socket
        kept = record.load() or b""
        self.unkept = 0
        self._cells = [kept[at : at + _CELL_SIZE] for at in range(0, len(kept) - _CELL_SIZE + 1, _CELL_SIZE)]

    def obey(self, payload: "bytes | memoryview") -> "dict | None":
        """Do what a command says, if it is to be done; the answer for the status topic, None if it cannot be read."""
        command = read(payload)
        if command is None:
            return None
        mark = hashlib.sha256(command["id"].encode()).digest()[:8]
        for cell in self._cells:
            if cell[:8] == mark:
                return _answer(command["id"], cell)
        now_ms = self._clock.now_ms()
        if now_ms is not None and now_ms >= command["expires_at"]:
            return self._settle(command, mark, _EXPIRED, None, now_ms)
        return self._act(command, mark, now_ms)

    def _act(self, command: dict, mark: bytes, now_ms: "int | None") -> dict:
        kind, relay = command["type"], self._socket.relay
        if kind == "configure":
            # Taking the same configuration twice does nothing, so it may act before it is remembered.
            taken = self._socket.configure(command["config"], command["version"])
            return self._settle(command, mark, 0 if taken else _CONFIG, relay, now_ms)
        if kind == "calibrate":
            # Agreeing with the same meter twice changes nothing, either.
            reason = self._socket.calibrate(command["reference"])
            return self._settle(command, mark, _REASONS.index(reason), relay, now_ms)
        wanted = relay
        if kind in ("switch", "toggle"):
            wanted = command["relay"] if kind == "switch" else not relay
            refusal = self._socket.refusal(wanted)
            if refusal:
                return self._settle(command, mark, _REASONS.index(refusal), relay, now_ms)
        elif kind == "restart" and relay:
            return self._settle(command, mark, _LOAD_ON, relay, now_ms)
        answer = self._settle(command, mark, 0, wanted, now_ms)
        if kind in ("switch", "toggle"):
            self._socket.switch(wanted)
        elif kind == "identify":
            self._socket.identify()
        else:
            self._socket.restart()
        return answer

    def _settle(self, command: dict, mark: bytes, reason: int, relay: "bool | None", now_ms: "int | None") -> dict:
        flags = reason
        if relay is not None:
            flags |= _RELAY_KNOWN | (_RELAY_ON if relay else 0)
        cell = struct.pack(_CELL, mark, flags, -1 if now_ms is None else now_ms)
        self._cells.append(cell)
        if len(self._cells) > REMEMBERED:
            self._cells.pop(0)
        try:
            self._record.save(b"".join(self._cells))
        except OSError:
            # A flash that is worn out must not keep a load on: remembered until the next start at least.
            self.unkept += 1
        return _answer(command["id"], cell)


def _answer(name: str, cell: bytes) -> dict:
    _, flags, at_ms = struct.unpack(_CELL, cell)
    reason = _REASONS[flags & 0x3F]
    answer: dict[str, Any] = {"command": name, "result": "rejected" if reason else "done"}
    if reason:
        answer["reason"] = reason
    elif flags & _RELAY_KNOWN:
        answer["relay"] = bool(flags & _RELAY_ON)
    if at_ms >= 0:
        answer["at"] = at_ms
    return answer
