"""The ring of readings: nothing stored is lost, nothing receipted comes back, whatever write the power goes in."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ring_story
from flash import SECTOR_SIZE, Flash, PowerCut
from flash_ring import RECORD_MAX, SLOTS, FlashRing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.micropython import Worker, here, run

SECTORS = 3
CAPACITY = SECTORS * SLOTS


def record_of(seq: int) -> bytes:
    """Return a record that tells which reading it belongs to."""
    return seq.to_bytes(4, "little") * (1 + seq % 8)


def all_pending(ring: FlashRing) -> list[tuple[int, int]]:
    pending = ring.pending(100_000)
    for _, seq, record in pending:
        assert record == record_of(seq)
    assert len(pending) == len(ring)
    return [(boot, seq) for boot, seq, _ in pending]


def test_readings_come_back_oldest_first_until_they_are_settled() -> None:
    ring = FlashRing(Flash(SECTORS * SECTOR_SIZE))
    for seq in range(100):
        ring.append(7, seq, record_of(seq))
    assert ring.pending(3) == [(7, seq, record_of(seq)) for seq in range(3)]
    assert ring.settle(7, 0, 89) == 90
    assert ring.settle(7, 0, 89) == 0
    assert ring.settle(8, 90, 99) == 0
    assert all_pending(ring) == [(7, seq) for seq in range(90, 100)]


def test_a_position_goes_on_where_the_last_list_ended() -> None:
    ring = FlashRing(Flash(SECTORS * SECTOR_SIZE))
    for seq in range(200):
        ring.append(7, seq, record_of(seq))
    first, position = ring.pending_from(0, 120)
    ring.settle(7, 0, 50)
    second, position = ring.pending_from(position, 120)
    assert [seq for _, seq, _ in first + second] == list(range(200))
    assert ring.pending_from(position, 120) == ([], ring.end())
    ring.append(7, 200, record_of(200))
    assert [seq for _, seq, _ in ring.pending_from(position, 120)[0]] == [200]


def test_a_full_ring_gives_up_the_oldest_and_counts_them() -> None:
    flash = Flash(SECTORS * SECTOR_SIZE)
    ring = FlashRing(flash)
    for seq in range(CAPACITY + 1):
        ring.append(7, seq, record_of(seq))
    assert ring.overwritten == SLOTS
    assert all_pending(ring) == [(7, seq) for seq in range(SLOTS, CAPACITY + 1)]
    again = FlashRing(flash)
    assert (again.overwritten, all_pending(again)) == (SLOTS, all_pending(ring))


def test_settled_readings_are_not_counted_as_given_up() -> None:
    ring = FlashRing(Flash(SECTORS * SECTOR_SIZE))
    for seq in range(10 * CAPACITY):
        ring.append(7, seq, record_of(seq))
        ring.settle(7, seq, seq)
    assert (ring.overwritten, len(ring)) == (0, 0)


@pytest.mark.parametrize(("boot", "seq", "record"), [(1, 1, b""), (1, 1, b"x" * 36), (-1, 0, b"x"), (1, 2**32, b"x")])
def test_what_does_not_fit_is_refused(boot: int, seq: int, record: bytes) -> None:
    ring = FlashRing(Flash(SECTORS * SECTOR_SIZE))
    with pytest.raises(ValueError, match=r"bytes|bits"):
        ring.append(boot, seq, record)
    assert len(ring) == 0


def test_a_decayed_reading_is_passed_over_and_counted() -> None:
    flash = Flash(SECTORS * SECTOR_SIZE)
    ring = FlashRing(flash)
    for seq in range(SLOTS + 5):
        ring.append(7, seq, record_of(seq))
    flash.write(64 + 3 * 48 + 13, b"\x00")
    assert [seq for _, seq, _ in ring.pending(6)] == [0, 1, 2, 4, 5, 6]
    assert (ring.corrupt, len(ring)) == (1, SLOTS + 4)


class Story:
    """One run of a socket on a flash that may lose power: what it was told to store and what was receipted."""

    def __init__(self, seed: int, receipts: float) -> None:
        self.receipts = receipts
        self.flash = Flash(SECTORS * SECTOR_SIZE)
        self.random = random.Random(seed)
        self.stored: list[tuple[int, int]] = []
        self.receipted: set[tuple[int, int]] = set()
        self.cuts = 0
        self.last_cut_in: tuple[Any, ...] = ()

    def step(self, ring: FlashRing, boot: int, seq: int) -> None:
        """Append one, and sometimes settle a range, as receipts come."""
        self.last_cut_in = ("append", (boot, seq))
        ring.append(boot, seq, record_of(seq))
        self.stored.append((boot, seq))
        if self.random.random() < self.receipts:
            pending = ring.pending(40)
            of_boot = next(b for b, _, _ in pending)
            seqs = [s for b, s, _ in pending if b == of_boot]
            first, last = seqs[0], self.random.choice(seqs)
            self.last_cut_in = ("settle", of_boot, first, last)
            self.receipted.update((of_boot, s) for s in seqs if first <= s <= last)
            ring.settle(of_boot, first, last)

    def check(self, ring: FlashRing) -> None:
        """Compare the ring after a restart with what it must hold."""
        waiting = len(ring)
        kept = all_pending(ring)
        assert (len(kept), ring.corrupt) == (waiting, 0), "what the power cut tore is settled by the recovery"
        assert len(set(kept)) == len(kept), "doubled"
        known = dict.fromkeys(self.stored)
        what, *where = self.last_cut_in
        if what == "append" and where[0] in kept and where[0] not in known:
            self.stored.append(where[0])  # It was stored, although the power went before the call returned.
        torn_receipt = set()
        if what == "settle":
            boot, first, last = where
            torn_receipt = {(boot, seq) for seq in range(first, last + 1)}
        assert not (set(kept) & self.receipted) - torn_receipt, "a receipted reading came back"
        expected = [one for one in self.stored if one not in self.receipted or one in kept]
        assert kept == expected[len(expected) - len(kept) :], "order or gap"
        lost = set(expected[: len(expected) - len(kept)])
        # Only those may be missing that the full ring had to give up: at most one sector more than it lacked.
        if lost:
            newest_lost = max(index for index, one in enumerate(self.stored) if one in lost)
            assert len(self.stored) - newest_lost > (SECTORS - 1) * SLOTS - 2 * self.cuts, "lost"
        self.receipted -= torn_receipt & set(kept)


def total_operations(seed: int, receipts: float, appends: int) -> int:
    story = Story(seed, receipts)
    ring = FlashRing(story.flash)
    for seq in range(appends):
        story.step(ring, 1, seq)
    return story.flash.operations


@pytest.mark.parametrize("torn", range(8))
@pytest.mark.parametrize(("receipts", "appends"), [(0.2, 30), (0.2, 2 * SLOTS), (0.02, CAPACITY + 20)])
def test_a_power_cut_in_any_write_or_erase_loses_and_doubles_nothing(torn: int, receipts: float, appends: int) -> None:
    operations = total_operations(5, receipts, appends)
    assert operations > appends
    for cut in range(operations):
        story = Story(5, receipts)
        story.flash.cut_after, story.flash.torn = cut, torn + 8 * cut
        ring = FlashRing(story.flash)
        with pytest.raises(PowerCut):
            for seq in range(appends):
                story.step(ring, 1, seq)
        story.flash.cut_after, story.cuts = None, 1
        ring = FlashRing(story.flash)
        story.check(ring)
        ring.append(2, 0, record_of(0))
        assert all_pending(ring)[-1] == (2, 0)
        assert all_pending(FlashRing(story.flash)) == all_pending(ring)


@given(
    seed=st.integers(0, 2**32),
    receipts=st.sampled_from((0.0, 0.02, 0.2)),
    gaps=st.lists(st.integers(0, 150), min_size=1, max_size=25),
)
@settings(max_examples=150, deadline=None)
def test_many_power_cuts_also_in_the_recovery(seed: int, receipts: float, gaps: list[int]) -> None:
    story = Story(seed, receipts)
    for boot, gap in enumerate(gaps, 1):
        story.flash.cut_after, story.flash.torn = gap, seed // boot
        story.last_cut_in = ("recovery",)
        try:
            ring = FlashRing(story.flash)
            for seq in count():
                story.step(ring, boot, seq)
        except PowerCut:
            story.flash.cut_after = None
            story.cuts += 1
            story.check(FlashRing(story.flash))


def test_recovery_reads_little_of_the_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = Flash(64 * SECTOR_SIZE)
    ring = FlashRing(flash)
    for seq in range(64 * SLOTS):
        ring.append(7, seq, record_of(seq))
    reads: list[int] = []
    read = flash.read

    def counted(at: int, buffer: bytearray) -> None:
        reads.append(len(buffer))
        read(at, buffer)

    monkeypatch.setattr(flash, "read", counted)
    assert len(FlashRing(flash)) == 64 * SLOTS
    assert sum(reads) < flash.size // 20
    assert len(reads) < 64 * 4 + SLOTS + 2


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 40), st.binary(min_size=1, max_size=RECORD_MAX)),
        st.tuples(st.just("settle"), st.integers(0, 3000), st.integers(0, 300)),
        st.tuples(st.just("restart"), st.integers(0, 1), st.integers(0, 1)),
    ),
    max_size=40,
)


@given(operations=OPERATIONS)
@settings(max_examples=40, deadline=None)
def test_micropython_keeps_the_same_ring(worker: Worker, operations: list[Any]) -> None:
    written = [[item.hex() if isinstance(item, bytes) else item for item in one] for one in operations]
    told = worker.call("ring_story", "play", written)
    assert told == here(ring_story.play, written)
    assert "answer" in told


def test_a_ring_of_a_mebibyte_fits_a_boards_heap(tmp_path: Path) -> None:
    [told] = run("full_ring.py", str(tmp_path / "ring.bin"), timeout_s=120)
    assert told["listed"] == told["pending"] == told["stored"] - told["overwritten"]
    assert told["overwritten"] == SLOTS
    assert told["in_order"]
    assert told["last"] == told["stored"] - 1
    assert told["held"] < 4096
