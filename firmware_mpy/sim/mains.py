"""A small physics of what hangs on a simulated socket: mains, load, relay contacts, and the chip that meters them.

The chip's pulses and frames are made when the firmware looks at them, from what has flowed since. `board.mains` of the
simulated board is one of these; the HAL asks it wherever it would meet the real chip.
"""

import struct

import bl0937
import bl0942
import hlw8012

_STEP_MAX_MS = 2_000
_PHASE = "<IIH"
_PHASE_SIZE = 10
_FRAMES_MAX = 8
# What the simulated CSE7766 has burnt in; only the ratios matter.
_CSE_VOLTAGE, _CSE_CURRENT, _CSE_POWER = 191_200, 16_140, 5_364_000


class Load:
    """What is plugged in: phases of (ms, mW at 230 V, power factor in thousandths), over and over.

    Args:
        phases: the list, or the name of a file of records `<IIH`.
    """

    def __init__(self, phases: "list | str") -> None:
        self._file = open(phases, "rb") if isinstance(phases, str) else None
        self._phases, self._at, self._left_ms = phases, -1, 0
        self.power_mw = self.factor = 0

    def pass_time(self, elapsed_ms: int) -> None:
        """Let it go on for so long."""
        self._left_ms -= elapsed_ms
        while self._left_ms <= 0:
            duration_ms, self.power_mw, self.factor = self._next()
            self._left_ms += duration_ms

    def _next(self) -> tuple:
        if self._file is None:
            self._at = (self._at + 1) % len(self._phases)
            return self._phases[self._at]
        record = self._file.read(_PHASE_SIZE)
        if len(record) < _PHASE_SIZE:
            self._file.seek(0)
            record = self._file.read(_PHASE_SIZE)
        return struct.unpack(_PHASE, record)


class Mains:
    """
    Args:
        board: the simulated board.
        description: from `board.read_board`: it says where the chip hangs.
        load: a `Load`.

    Attributes:
        voltage_mv: of the mains.
        welded: the contacts stay closed whatever the coil does.
        fault: "" or how the chip fails: `silent`, `noise` (frames that are none), `frozen` (it repeats itself), `no_cf`
            (the line that tells the power is broken).
        true_mw_ms: the energy that really went through.
    """

    def __init__(self, board: "object", description: dict, load: Load) -> None:
        self._board, self._load, self._meter = board, load, description["meter"]
        self._relay = description["relay"]
        self.voltage_mv, self.welded, self.fault, self.true_mw_ms = 230_000, False, "", 0
        self._at_ms, self._frames_at_ms = board.elapsed_ms(), board.elapsed_ms()
        self._cf_uw_ms = self._cf1 = self._cse_mw_ms = 0
        self._cf_pulses = self._cf1_pulses = self._cse_pulses = 0
        driver, scale = self._meter["driver"], (self._meter["shunt_uohm"], self._meter["divider_milli"])
        chips = {"bl0937": bl0937, "hlw8012": hlw8012, "bl0942": bl0942}
        self._factors = chips[driver].factors(*scale) if driver in chips else None
        self._makes_pulses = driver in ("bl0937", "hlw8012")
        self._frame = None
        load.pass_time(0)

    def flows(self) -> "tuple[int, int]":
        """Return the power in mW and the current in mA of now."""
        level = self._board.levels.get(self._relay["pin"], self._relay["active_low"])
        if not self.welded and level == self._relay["active_low"]:
            return 0, 0
        # As a resistance: power follows the square of the voltage.
        power_mw = self._load.power_mw * (self.voltage_mv // 100) // 2300 * (self.voltage_mv // 100) // 2300
        return power_mw, power_mw * 1_000_000 // (self.voltage_mv * max(self._load.factor, 1)) if power_mw else 0

    def settle(self) -> None:
        """Let flow what has flowed until now; to be called before anything is switched."""
        now_ms = self._board.elapsed_ms()
        while self._at_ms < now_ms:
            step_ms = min(now_ms - self._at_ms, _STEP_MAX_MS)
            power_mw, current_ma = self.flows()
            self.true_mw_ms += power_mw * step_ms
            if self._makes_pulses:
                self._pulse(power_mw, current_ma, step_ms)
            else:
                self._cse_mw_ms += power_mw * step_ms
            self._load.pass_time(step_ms)
            self._at_ms += step_ms

    def _pulse(self, power_mw: int, current_ma: int, step_ms: int) -> None:
        power, current, voltage = self._factors
        self._cf_uw_ms += power_mw * step_ms
        if self.fault not in ("silent", "no_cf"):
            self._cf_pulses += self._cf_uw_ms // power
        self._cf_uw_ms %= power
        level = self._board.levels.get(self._meter["sel"], True)
        of_voltage = level != self._meter["sel_active_low"]
        value, factor = (self.voltage_mv, voltage) if of_voltage else (current_ma, current)
        self._cf1 += value * step_ms
        if self.fault != "silent":
            self._cf1_pulses += self._cf1 // factor
        self._cf1 %= factor

    def take_pulses(self, number: int) -> int:
        """Return the pulses on a pin since the last call."""
        self.settle()
        if number == self._meter.get("cf"):
            count, self._cf_pulses = self._cf_pulses, 0
        else:
            count, self._cf1_pulses = self._cf1_pulses, 0
        return count

    def sent(self) -> bytes:
        """Return what the chip has sent by itself since the last call (a CSE7766 does, every 50 ms)."""
        self.settle()
        if self._meter["driver"] != "cse7766" or self.fault == "silent":
            return b""
        count = min((self._board.elapsed_ms() - self._frames_at_ms) // 50, _FRAMES_MAX)
        if count <= 0:
            return b""
        self._frames_at_ms = self._board.elapsed_ms()
        return self._faulty(self._cse_frame)

    def answer(self, request: bytes) -> bytes:
        """Return what the chip answers (a BL0942 does)."""
        self.settle()
        if self._meter["driver"] != "bl0942" or self.fault == "silent" or request != bl0942.request(0):
            return b""
        return self._faulty(self._bl0942_packet)

    def _faulty(self, new_frame: "object") -> bytes:
        if self.fault == "noise":
            return bytes(range(24))
        if self.fault != "frozen" or self._frame is None:
            self._frame = new_frame()
        return self._frame

    def _cse_frame(self) -> bytes:
        power_mw, current_ma = self.flows()
        self._cse_pulses += self._cse_mw_ms // _CSE_POWER
        self._cse_mw_ms %= _CSE_POWER
        # The CSE7766's values are those of 1 mOhm and 1 MOhm : 1 kOhm. Too slow a cycle is told as an overflow.
        state = 0x55 if power_mw > 1_000 else 0xF6
        frame = bytes((state, 0x5A))
        for coefficient, value in ((_CSE_VOLTAGE, self.voltage_mv), (_CSE_CURRENT, current_ma), (_CSE_POWER, power_mw)):
            cycle = min(coefficient * 1000 // value, 0xFFFFFF) if value else 0xFFFFFF
            # No mains are as still as those of a model.
            cycle += self._board.elapsed_ms() // 1000 % 2 if coefficient == _CSE_VOLTAGE else 0
            frame += struct.pack(">I", coefficient)[1:] + struct.pack(">I", cycle)[1:]
        frame += bytes((0x71,)) + struct.pack(">H", self._cse_pulses & 0xFFFF)
        return frame + bytes((sum(frame[2:]) & 0xFF,))

    def _bl0942_packet(self) -> bytes:
        power_mw, current_ma = self.flows()
        power, current, voltage = self._factors
        raw = [(value * 1000 << 20) // factor for value, factor in ((current_ma, current), (self.voltage_mv, voltage))]
        raw[1] += self._board.elapsed_ms() // 400 % 16
        # The registers have 24 bits, the power's with its sign: 70 A are beyond them.
        raw[0] = min(raw[0], 0xFFFFFF)
        watt = min((power_mw * 1000 << 20) // power, 0x7FFFFF)
        packet = b"\x55" + b"".join(struct.pack("<I", one)[:3] for one in (raw[0], raw[1], raw[0], watt, 0))
        packet += struct.pack("<H", 20_000) + bytes(4)
        return packet + bytes((~(0x58 + sum(packet)) & 0xFF,))
