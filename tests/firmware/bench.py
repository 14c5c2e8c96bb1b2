"""A smart socket on simulated mains, in virtual time: the whole of it that works without a network."""

from __future__ import annotations

from random import Random
from typing import Any

import hal
from board import read_board
from mains import Load, Mains
from simulated_board import Board
from smart_socket import SmartSocket

from tests.firmware.micropython import FIRMWARE

DRIVERS = ("pulse-bl0937", "pulse-hlw8012", "uart-cse7766", "uart-bl0942")
Phases = list[tuple[int, int, int]]


class SocketBench:
    """One socket, its button and what is plugged in; its flash outlives `power_cycle`."""

    def __init__(self, driver: str = "uart-cse7766", load: Phases | None = None, *, start_ms: int = 0) -> None:
        self.description = read_board((FIRMWARE / "boards" / f"{driver}.json").read_text())
        self.board = hal.board = Board()
        self.board.use_virtual_clock(start_ms)
        self.told: list[dict[str, Any]] = []
        self.plug_in(load or [(60_000, 500_000, 1000)])
        self.start()

    def start(self, *, power_cut: bool = True, safe_mode: bool = False, button_down: bool = False) -> None:
        self.board.timers.clear()
        self.board.levels.clear()
        self._hold(button_down)
        self.socket = SmartSocket(self.description, self.told.append, power_cut, safe_mode)

    def power_cycle(self, *, off_ms: int = 1_000) -> None:
        self.board.timers.clear()
        self.board.levels.clear()
        self.board.advance(off_ms)
        self.start()

    def plug_in(self, load: Phases) -> None:
        self.board.mains = Mains(self.board, self.description, Load(load))

    def run(self, for_ms: int, *, loop_is_late: bool = False, jitter: Random | None = None) -> None:
        """Let time pass; a late loop attends to nothing, and with jitter each call of the timer is up to 10 ms late."""
        for _ in range(for_ms // 50):
            if jitter is not None:
                self.board.timers[0].period_ms = 50 + jitter.randint(0, 10)
            self.board.advance(50)
            if not loop_is_late:
                self.socket.attend()

    def press(self, for_ms: int) -> None:
        self.run(150)
        self._hold(True)
        self.run(for_ms)
        self.release()

    def release(self) -> None:
        self._hold(False)
        self.run(150)

    def _hold(self, down: bool) -> None:
        button = self.description["button"]
        self.board.levels[button["pin"]] = down != button["active_low"]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["event"] == name]

    def lit(self, for_ms: int) -> str:
        """The LED, every 100 ms: `#` or `.`."""
        led = self.description["led"]
        seen = ""
        for _ in range(for_ms // 100):
            self.run(100)
            seen += "#" if self.board.levels[led["pin"]] != led["active_low"] else "."
        return seen
