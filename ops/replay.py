"""`wattaway replay`: the rows of a trace file as readings of sockets, over real MQTT connections.

Replaying the same file again changes nothing: a socket's `boot` follows from its id (and the shift), a reading's `seq`
is its instant, so equal rows are equal events. Gaps stay gaps.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import structlog

from domain.clock import SystemClock
from domain.errors import SettingInvalid
from domain.wire import CLOCK_AHEAD_LIMIT_MS, MAX_AT_MS, WireReading, encode_data
from ops.mqtt_tls import mqtt_tls
from ops.registering import registration
from ops.replay_plan import ReplayPlan, ReplayReport, show_report
from ops.settings import Settings
from ops.simulator.fleet import MOST_CONNECTING, STOPPED_DRAIN_S
from ops.simulator.socket_device import Endpoint, SocketDevice, Tally
from ops.trace_file import LineError, TraceRow, check_trace, read_trace

log = structlog.get_logger()

SHOWN_ERRORS = 20
LONGEST_INTEGRATED_GAP_MS = 300_000
_DAY_MS = 86_400_000


class CounterBuilder:
    """One device's lifetime counter along its rows, exact to the µWh."""

    def __init__(self) -> None:
        self._sum_uwh = 0
        self._rest_mw_ms = 0
        self._last: TraceRow | None = None

    def energy_mwh(self, row: TraceRow) -> int:
        """The counter after `row`: the meter's own, else the sum of windows, else the integral of power."""
        last, self._last = self._last, row
        if row.energy_mwh is not None:
            # Where the meter is silent, it goes on from here.
            self._sum_uwh, self._rest_mw_ms = row.energy_mwh * 1_000, 0
            return row.energy_mwh
        if row.window_uwh is not None:
            self._sum_uwh += row.window_uwh
        elif last is not None and row.at_ms - last.at_ms <= LONGEST_INTEGRATED_GAP_MS:
            mw_ms = self._rest_mw_ms + last.power_mw * (row.at_ms - last.at_ms)
            micro, self._rest_mw_ms = divmod(mw_ms, 3_600)  # 3,600 mW·ms are one µWh
            self._sum_uwh += micro
        return self._sum_uwh // 1_000


class Replay:
    """One run of a trace file against a broker.

    Args:
        token_of: the MQTT password of a device id; it may block.
        max_age_days: older readings would be refused by the bridge.
    """

    def __init__(
        self, plan: ReplayPlan, endpoint: Endpoint, token_of: Callable[[str], str], *, max_age_days: int
    ) -> None:
        self._plan, self._endpoint, self._token_of = plan, endpoint, token_of
        self._max_age_days = max_age_days
        self._tally = Tally()
        self._gate = asyncio.Semaphore(MOST_CONNECTING)
        self._devices: dict[str, SocketDevice] = {}
        self._counters: dict[str, CounterBuilder] = {}
        self._errors: Counter[str] = Counter()
        self._shift_ms = plan.shift_ms
        self._stop = asyncio.Event()
        self._stuck = False

    def stop(self) -> None:
        """Read no further; `run` then drains and returns."""
        self._stop.set()
        self._tally.settled.set()  # whoever waits for a receipt looks again

    async def run(self) -> ReplayReport:
        """Replay the file to its end (or `stop`), wait for the last receipts; what came of it.

        Raises:
            SettingInvalid: the file cannot be read.
        """
        started_s = time.monotonic()
        rows = read_trace(self._plan.path, self._on_line_error)
        try:
            async with asyncio.TaskGroup() as links:
                tasks: list[asyncio.Task[None]] = []
                await self._send(rows, lambda device: tasks.append(links.create_task(device.stay_connected())))
                await self._receipts_until(0, lambda: self._tally.measured - self._tally.receipted)
                for task in tasks:
                    task.cancel()
        except* SettingInvalid as group:
            raise group.exceptions[0] from None
        return self._report(time.monotonic() - started_s)

    async def _send(self, rows: Iterator[TraceRow], start_link: Callable[[SocketDevice], None]) -> None:
        first_ms, started_s = None, time.monotonic()
        for number, row in enumerate(rows):
            if first_ms is None:
                first_ms = row.at_ms
                self._settle_shift(first_ms)
            if not await self._wait_for_turn(number, (row.at_ms - first_ms) / 1000, started_s):
                return
            if row.device_id not in self._devices:
                start_link(await self._new_device(row.device_id))
            if not await self._wait_for_room(self._devices[row.device_id]):
                return
            self._offer(row)

    async def _wait_for_turn(self, number: int, into_trace_s: float, started_s: float) -> bool:
        """Whether to go on, once the row is due."""
        if self._plan.speed is not None:
            wait_s = into_trace_s / self._plan.speed - (time.monotonic() - started_s)
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait_s)
        if number % 200 == 0:
            await asyncio.sleep(0)
        return not self._stop.is_set()

    async def _wait_for_room(self, device: SocketDevice) -> bool:
        """Whether to go on, once the windows have room for another reading."""
        plan = self._plan
        if self._outstanding() >= plan.window_readings:
            await self._receipts_until(plan.window_readings // 2, self._outstanding)
        if len(device.outbox) >= plan.device_window_readings:
            await self._receipts_until(plan.device_window_readings // 2, lambda: len(device.outbox))
        return not (self._stop.is_set() or self._stuck)

    async def _receipts_until(self, few: int, outstanding: Callable[[], int]) -> None:
        """Wait until only `few` are without a receipt, or none came for `drain_s`, or somebody wants an end."""
        stopped_at_s: float | None = None
        while outstanding() > few and not self._stuck:
            if self._stop.is_set():
                stopped_at_s = stopped_at_s or time.monotonic()
                if time.monotonic() - stopped_at_s > STOPPED_DRAIN_S:
                    return
            self._tally.settled.clear()
            limit_s = min(self._plan.drain_s, STOPPED_DRAIN_S) if stopped_at_s else self._plan.drain_s
            self._stuck = not await _happens(self._tally.settled, limit_s)

    async def _new_device(self, device_id: str) -> SocketDevice:
        self._counters[device_id] = CounterBuilder()
        device = self._devices[device_id] = SocketDevice(
            device_id,
            token=await asyncio.to_thread(self._token_of, device_id),
            boot=boot_of(device_id, self._shift_ms or 0),
            endpoint=self._endpoint,
            gate=self._gate,
            tally=self._tally,
            timing=self._plan.timing,
            lists_only=self._plan.speed is None,
        )
        return device

    def _offer(self, row: TraceRow) -> None:
        device, at_ms = self._devices[row.device_id], row.at_ms + (self._shift_ms or 0)
        energy_mwh = self._counters[row.device_id].energy_mwh(row)
        if (objection := self._objection(at_ms)) is not None:
            self._on_line_error(LineError(row.line, "ts", objection))
            return
        reading = WireReading(
            device.boot, at_ms, row.power_mw, at=at_ms, voltage_mv=row.voltage_mv, energy_mwh=energy_mwh
        )
        device.offer(at_ms, encode_data([reading]))

    def _objection(self, at_ms: int) -> str | None:
        """Why the bridge would refuse a reading of this instant."""
        now_ms = SystemClock().now_ms()
        if at_ms > min(now_ms + CLOCK_AHEAD_LIMIT_MS, MAX_AT_MS):
            return "lies in the future: choose another --shift or --speed"
        if at_ms < max(now_ms - self._max_age_days * _DAY_MS, 0):
            return f"is older than WATTAWAY_READING_MAX_AGE_DAYS ({self._max_age_days}): choose another --shift"
        return None

    def _settle_shift(self, first_ms: int) -> None:
        if self._shift_ms is None:
            self._shift_ms = SystemClock().now_ms() - first_ms

    def _on_line_error(self, error: LineError) -> None:
        self._errors[error.column] += 1
        if self._errors.total() <= SHOWN_ERRORS:
            log.warning(
                "trace line refused",
                file=str(self._plan.path),
                line=error.line,
                column=error.column,
                detail=error.detail,
            )

    def _outstanding(self) -> int:
        return self._tally.measured - self._tally.receipted

    def _report(self, seconds: float) -> ReplayReport:
        return ReplayReport(
            rows=self._tally.measured,
            devices=len(self._devices),
            sent=self._tally.sent,
            receipted=self._tally.receipted,
            outstanding=self._outstanding(),
            errors=self._errors.total(),
            errors_by_column=dict(self._errors),
            stopped=self._stop.is_set(),
            last_refusal=self._tally.last_refusal,
            seconds=seconds,
        )


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), within_s)
    except TimeoutError:
        return False
    return True


def boot_of(device_id: str, shift_ms: int) -> str:
    """The `boot` of a replayed socket: the same for every replay with the same shift."""
    return hashlib.sha256(f"replay {device_id} {shift_ms}".encode()).hexdigest()[:8]


def run_replay(settings: Settings, plan: ReplayPlan) -> int:
    """Replay a file; 0 if every line was taken and every reading receipted, else 1.

    Raises:
        SettingInvalid: the file cannot be read, or the plan cannot be.
    """
    check_plan(plan)
    check_trace(plan.path)
    with registration(settings, role="replay") as registering:
        report = asyncio.run(_replay(settings, plan, registering.token))
    show_report(plan, report)
    return 0 if report.complete else 1


def check_plan(plan: ReplayPlan) -> None:
    """Raise `SettingInvalid` for a plan whose rows would lie in the future."""
    if plan.shift_ms is None and (plan.speed is None or plan.speed > 1):
        raise SettingInvalid("--shift now needs --speed 1 or less: faster, the rows would lie in the future")


async def _replay(settings: Settings, plan: ReplayPlan, token_of: Callable[[str], str]) -> ReplayReport:
    endpoint = Endpoint(settings.mqtt_host, settings.mqtt_port, mqtt_tls(settings))
    replay = Replay(plan, endpoint, token_of, max_age_days=settings.reading_max_age_days)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, replay.stop)
    return await replay.run()
