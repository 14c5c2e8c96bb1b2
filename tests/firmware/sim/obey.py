"""Plays command payloads to a socket with a memory in simulated flash and tells its answers and deeds."""

import commands
import configuration
import flash
from records import Record


class _Clock:
    def __init__(self, now: "int | None") -> None:
        self.now = now

    def now_ms(self) -> "int | None":
        return self.now


class _Socket:
    def __init__(self, config_record: Record) -> None:
        self.relay, self.tripped, self.deeds = False, False, []
        limits = {"max_current_ma": 16_000}
        self.configuration = configuration.Configuration(config_record, limits, self._apply)

    def _apply(self, members: dict) -> None:
        if members.get("interval_ms") == 1234:
            raise ValueError("cannot")
        self.deeds.append(["apply", sorted(members)])

    def refusal(self, closed: bool) -> str:
        return "tripped" if closed and self.tripped else ""

    def switch(self, closed: bool) -> None:
        self.relay = closed
        self.deeds.append(["switch", closed])

    def identify(self) -> None:
        self.deeds.append(["identify"])

    def restart(self) -> None:
        self.deeds.append(["restart"])

    def calibrate(self, reference: dict) -> str:
        self.deeds.append(["calibrate", reference])
        return "" if reference.get("power_mw", 0) < 4_000_000 else "too_far_off"

    def configure(self, config: dict, version: int) -> bool:
        return self.configuration.take(config, version)


def play(steps: "list[list[object]]") -> "list[object]":
    """Return answers and deeds. A step is [payload, now (null: unknown), whether the socket was restarted before]."""
    memory, settings = flash.Flash(2 * flash.SECTOR_SIZE), flash.Flash(2 * flash.SECTOR_SIZE)
    clock, answers, deeds = _Clock(None), [], []
    socket = obeying = None
    for payload, now, restarted in steps:
        if socket is None or restarted:
            socket = _Socket(Record(settings, 0, 512))
            obeying = commands.Commands(Record(memory, 0, 1365), clock, socket)
        clock.now, socket.deeds = now, []
        answers.append(obeying.obey(payload.encode()))
        deeds.append(socket.deeds)
    return [answers, deeds, socket.configuration.members, socket.configuration.version]


def identify_many(count: int, again: "list[str]") -> "list[bool]":
    """Say which of `again` are done anew after ids 0 to `count` - 1 were, and a restart."""
    memory = Record(flash.Flash(2 * flash.SECTOR_SIZE), 0, 1365)
    socket = _Socket(Record(flash.Flash(2 * flash.SECTOR_SIZE), 0, 512))
    obeying = commands.Commands(memory, _Clock(None), socket)
    for number in range(count):
        obeying.obey(f'{{"id":"{number}","type":"identify","expires_at":1}}'.encode())
    obeying, done = commands.Commands(memory, _Clock(None), socket), []
    for name in again:
        socket.deeds = []
        obeying.obey(f'{{"id":"{name}","type":"identify","expires_at":1}}'.encode())
        done.append(bool(socket.deeds))
    return done
