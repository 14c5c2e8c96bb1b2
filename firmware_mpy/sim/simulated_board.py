"""What the world outside of the simulated hardware sees and does; `hal.board` is the process's one."""

import time

import flash as _flash

TICKS_PERIOD = 1 << 30
_STARTED_MS = time.time_ns() // 1_000_000


class Board:
    """What the world outside of the firmware sees and does."""

    def __init__(self) -> None:
        self.virtual_ms = None
        self.origin_ms = TICKS_PERIOD - 5_000
        self.flash_dir = None
        self.flash_size = 64 * _flash.SECTOR_SIZE
        self.flash_sizes = {"state": 16 * _flash.SECTOR_SIZE}
        self.flashes = {}
        self.levels = {}
        self.pulses = {}
        self.lines = {}
        self.sent = {}
        self.timers = []
        # What hangs on the pins (`mains.Mains`); None: a test says what comes in.
        self.mains = None
        self.unique_id = b"\x24\x6f\x28\x01\x02\x03"
        self.temperature_mc = 30_000
        self.power_cut = True
        self.restarts = 0
        self.utc_ms = None
        self.wifi_on = self.radio_works = True
        self.rssi_dbm = -60
        # (name, password, dBm, kind of authentication); None: any name and password will do.
        self.networks = None
        self.gatt_server = None
        self.phone_goes = False
        self.watchdog_fed_ms = None
        self.watchdog_timeout_ms = None

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the board's start, without wrap."""
        if self.virtual_ms is not None:
            return self.virtual_ms
        return time.time_ns() // 1_000_000 - _STARTED_MS

    def use_virtual_clock(self, start_ms: int = 0) -> None:
        """Stand still at `start_ms` until `advance`."""
        self.virtual_ms = start_ms

    def advance(self, duration_ms: int) -> None:
        """Move the virtual clock and call the timers that become due, each at its time."""
        end_ms = self.virtual_ms + duration_ms
        while True:
            due = [timer for timer in self.timers if timer.due_ms <= end_ms]
            if not due:
                break
            first = min(due, key=lambda timer: timer.due_ms)
            self.virtual_ms = max(self.virtual_ms, first.due_ms)
            first.due_ms += first.period_ms
            first.callback()
        self.virtual_ms = end_ms

    def until_next_timer_ms(self) -> "int | None":
        """Return when the next timer is due, None without timers."""
        now_ms = self.elapsed_ms()
        return max(0, min(timer.due_ms for timer in self.timers) - now_ms) if self.timers else None

    def fire_due_timers(self) -> None:
        """Call the timers that are due, each once, however often it was missed."""
        now_ms = self.elapsed_ms()
        for timer in self.timers:
            if timer.due_ms <= now_ms:
                timer.due_ms += ((now_ms - timer.due_ms) // timer.period_ms + 1) * timer.period_ms
                timer.callback()

    def watchdog_bites(self) -> bool:
        """Say whether the watchdog would have restarted the board by now."""
        if self.watchdog_fed_ms is None:
            return False
        return self.elapsed_ms() - self.watchdog_fed_ms > self.watchdog_timeout_ms
