"""Records and the energy counter: always a whole one, never a jump or a step back, and a bounded number of erases."""

from __future__ import annotations

import hal
import pytest
from energy import SAVE_INTERVAL_MS, SLOT_SIZE, EnergyCounter
from flash import SECTOR_SIZE, Flash, PowerCut
from records import HEAD_SIZE, Record, erases_per_day

from tests.firmware.micropython import run

ERASES_PER_DAY = 27
"""The budget: 100,000 cycles of a sector in 10 years."""

MW_MS_PER_MWH = 3_600_000


@pytest.mark.parametrize("slot_size", [24, 1000, SECTOR_SIZE])
def test_the_last_save_is_what_is_loaded(slot_size: int) -> None:
    flash = Flash(2 * SECTOR_SIZE)
    assert Record(flash, 0, slot_size).load() is None
    for number in range(400):
        record = Record(flash, 0, slot_size)
        record.save(str(number).encode())
        assert record.load() == Record(flash, 0, slot_size).load() == str(number).encode()


@pytest.mark.parametrize("torn", range(8))
@pytest.mark.parametrize("slot_size", [300, SECTOR_SIZE])
def test_a_power_cut_in_any_write_leaves_the_old_record_or_the_new_one(slot_size: int, torn: int) -> None:
    saves = 60
    for cut in range(saves * 2):
        flash = Flash(2 * SECTOR_SIZE)
        flash.cut_after, flash.torn = cut, torn + 8 * cut
        record, number = Record(flash, 0, slot_size), 0
        try:
            while number < saves:
                record.save(number.to_bytes(4, "little"))
                number += 1
        except PowerCut:
            flash.cut_after = None
            record = Record(flash, 0, slot_size)
            old = None if number == 0 else (number - 1).to_bytes(4, "little")
            assert record.load() in (old, number.to_bytes(4, "little"))
            record.save(b"after")
            assert Record(flash, 0, slot_size).load() == b"after"


def test_a_flash_that_takes_nothing_any_more_keeps_the_old_record(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = Flash(2 * SECTOR_SIZE)
    record = Record(flash, 0, 100)
    record.save(b"old")
    monkeypatch.setattr(flash, "write", lambda at, data: None)
    with pytest.raises(OSError, match="worn out"):
        record.save(b"new")
    assert Record(flash, 0, 100).load() == b"old"


def test_what_is_longer_than_a_slot_is_refused() -> None:
    record = Record(Flash(2 * SECTOR_SIZE), 0, 24)
    with pytest.raises(ValueError, match="longer"):
        record.save(bytes(24 - HEAD_SIZE + 1))


def test_the_energy_counter_never_jumps_or_goes_back_over_power_cuts() -> None:
    flash = Flash(2 * SECTOR_SIZE)
    per_s_mw_ms = 3_680_000 * 1000
    save_interval_mwh = SAVE_INTERVAL_MS // 1000 * per_s_mw_ms // MW_MS_PER_MWH
    hal.board.use_virtual_clock()
    true_mwh, known_mwh, cuts = 0, 0, 0
    for cut in range(400):
        flash.cut_after, flash.torn = cut % 7, cut
        try:
            counter = EnergyCounter(Record(flash, 0, SLOT_SIZE), hal.ticks_ms())
            assert known_mwh - save_interval_mwh - 2 <= counter.energy_mwh <= known_mwh
            while True:
                before = counter.energy_mwh
                hal.board.advance(1000)
                counter.count(per_s_mw_ms)
                counter.save_in_time(hal.ticks_ms())
                true_mwh += per_s_mw_ms
                known_mwh = counter.energy_mwh
                assert before < known_mwh <= before + per_s_mw_ms // MW_MS_PER_MWH + 1
        except PowerCut:
            known_mwh = counter.energy_mwh
            cuts += 1
    assert cuts == 400
    assert known_mwh <= true_mwh // MW_MS_PER_MWH


def test_without_power_cuts_no_energy_is_lost_to_rounding() -> None:
    hal.board.use_virtual_clock()
    counter = EnergyCounter(Record(Flash(2 * SECTOR_SIZE), 0, SLOT_SIZE), hal.ticks_ms())
    for _ in range(10_000):
        hal.board.advance(1000)
        counter.count(1_234_567)
        counter.save_in_time(hal.ticks_ms())
    assert counter.energy_mwh == 10_000 * 1_234_567 // MW_MS_PER_MWH


def test_thirty_days_keep_within_the_flash_life_and_the_heap() -> None:
    [told] = run("thirty_days.py", timeout_s=150)
    assert told["days"] == 30
    assert told["wraps"] >= 2
    assert max(told["energy_erases"]) / 30 <= erases_per_day(24 * 60, SLOT_SIZE) <= ERASES_PER_DAY
    assert 0 < max(told["ring_erases"]) / 30 <= ERASES_PER_DAY
    assert told["energy_mwh"] == told["true_mwh"]
    assert told["heap_growth"] <= 2048
    assert (told["pending"], told["overwritten"]) == (0, 0)
