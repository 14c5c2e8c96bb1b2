"""Updates, part by part: no forged signature passes, no power cut leaves half an image, failing starts end safely."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

import firmware_image
import hal
import pytest
import slot_files
import slots
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from download import PROGRESS_AT, PROGRESS_SLOT_SIZE, Download
from flash import SECTOR_SIZE, Flash, PowerCut
from records import Record
from rsa_verify import is_signed
from slots import Slots

from tests.firmware.micropython import Worker
from tests.firmware.signed_images import BOARD, image, key, modulus, offer

DIGEST = hashlib.sha256(b"head").digest()
INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def raised(block: bytes) -> bytes:
    """Return what the key makes of a padded block, right or not."""
    numbers = key(0).private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(384, "big")


def padded(tail: bytes, start: bytes = b"\x00\x01", filler: bytes = b"\xff") -> bytes:
    return start + filler * (384 - 3 - len(tail)) + b"\x00" + tail


def blocks() -> list[bytes]:
    right = padded(INFO + DIGEST)
    no_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + DIGEST
    wrong = [
        padded(INFO + DIGEST, start=b"\x00\x02"),
        padded(INFO + DIGEST, filler=b"\xfe"),
        padded(INFO + hashlib.sha256(b"other").digest()),
        padded(INFO + DIGEST + b"\x00"),
        padded(DIGEST),
        padded(no_null),
        # Room for a forger behind a short padding (CVE-2006-4339).
        (b"\x00\x01" + b"\xff" * 8 + b"\x00" + INFO + DIGEST).ljust(384, b"\x00"),
        b"\x00" * 383 + b"\x01",
        b"\x00" * 384,
        *(right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :] for at in range(0, 384, 61)),
    ]
    return [right, *wrong]


def by_the_library(digest: bytes, signature: bytes, public: rsa.RSAPublicKey) -> bool:
    try:
        public.verify(signature, digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def test_signatures_are_judged_as_the_library_does(worker: Worker) -> None:
    signature = key(0).sign(b"head", padding.PKCS1v15(), SHA256())
    tries = [signature, *(raised(block) for block in blocks()), key(1).sign(b"head", padding.PKCS1v15(), SHA256())]
    tries += [signature[1:], signature + b"\x00", b"", b"\xff" * 384, modulus(), *(os.urandom(384) for _ in range(5))]
    above = int.from_bytes(signature, "big") + int.from_bytes(modulus(), "big")
    if above.bit_length() <= 3072:
        tries.append(above.to_bytes(384, "big"))
    for number, one in enumerate(tries):
        expected = by_the_library(DIGEST, one, key(0).public_key())
        assert expected == (number < 2), number
        assert is_signed(DIGEST, one, modulus()) == expected, number
        assert worker.call("rsa_verify", "is_signed", DIGEST, one, modulus()) == {"answer": expected}, number


@pytest.mark.parametrize("broken", ["no key", "too short", "too long", "nought", "one"])
def test_without_a_whole_key_nothing_is_signed(broken: str) -> None:
    known = {
        "no key": b"",
        "too short": modulus()[1:],
        "too long": modulus() + b"\x00",
        "nought": bytes(384),
        "one": bytes(383) + b"\x01",
    }[broken]
    assert not is_signed(DIGEST, bytes(384), known)
    assert not is_signed(DIGEST, raised(padded(INFO + DIGEST)), known)


class Answer:
    """A server's answer to a download."""

    def __init__(self, content: bytes, at: int) -> None:
        self._left = content[at:]
        self.status = 206 if at else 200
        self.headers = {"content-range": f"bytes {at}-"}

    @property
    def remaining(self) -> int:
        return len(self._left)

    async def fill(self, buffer: memoryview) -> None:
        buffer[:], self._left = self._left[: len(buffer)], self._left[len(buffer) :]


def is_bootable(slot: int) -> bool:
    try:
        slot_files.check_slot(hal.Flash(slots.PARTITIONS[slot]), BOARD, modulus())
    except firmware_image.BadImage:
        return False
    return True


def states() -> Slots:
    return Slots(Record(hal.Flash(slots.STATE_PARTITION), 0, slots.STATE_SLOT_SIZE))


def update(content: bytes, counter: int) -> None:
    """Bring an image in and let it prove itself, with every write that takes."""
    chosen = states()
    if chosen.may_install(counter, 1):
        if not chosen.trial:
            slot = chosen.target()
            record = Record(hal.Flash(slots.STATE_PARTITION), PROGRESS_AT, PROGRESS_SLOT_SIZE)
            flash, trusted = hal.Flash(slots.PARTITIONS[slot]), (BOARD, modulus())
            sector = memoryview(bytearray(SECTOR_SIZE))
            bringing = Download(record, flash, slot, offer(content, counter), trusted, sector)
            if not bringing.is_complete:
                asyncio.run(bringing.take(Answer(content, bringing.at)))
            bringing.check()
            chosen.stage(slot, counter)
        assert states().begin(False, is_bootable).on_trial
        chosen = states()
        chosen.confirm(counter)
    chosen.settle()


def runs() -> int:
    """Return the release that starts now: it must be whole, and signed."""
    started = states().begin(True, is_bootable)
    if not started.slot:
        return 1
    flash = hal.Flash(slots.PARTITIONS[started.slot])
    return int(slot_files.check_slot(flash, BOARD, modulus())["counter"])


def fresh(kept: dict[str, bytes]) -> dict[str, Flash]:
    flashes = {}
    for name in ("slots", "app_a", "app_b"):
        flashes[name] = Flash(8 * SECTOR_SIZE)
        if name in kept:
            flashes[name].write(0, kept[name])
    return flashes


def whole(flashes: dict[str, Flash]) -> dict[str, bytes]:
    content = {name: bytearray(flash.size) for name, flash in flashes.items()}
    for name, flash in flashes.items():
        flash.read(0, content[name])
    return {name: bytes(data) for name, data in content.items()}


@pytest.mark.parametrize("torn", [0, 1, 2, 6, 3])
def test_a_power_cut_at_any_write_leaves_the_old_release_or_the_new_one(
    monkeypatch: pytest.MonkeyPatch, torn: int
) -> None:
    kept: dict[str, bytes] = {}
    for old, counter in ((1, 2), (2, 3), (3, 4)):
        content, before, cuts = image(counter), kept, 0
        for name in ("slots", "app_a", "app_b"):
            cut = 0
            while True:
                monkeypatch.setattr(hal.board, "flashes", fresh(before))
                flash: Any = hal.board.flashes[name]
                flash.cut_after, flash.torn = cut, torn + 8 * cut
                try:
                    update(content, counter)
                except PowerCut:
                    flash.cut_after = None
                    assert runs() in (old, counter), (name, cut)
                    update(content, counter)
                    assert runs() == counter, (name, cut)
                    cuts, cut = cuts + 1, cut + 1
                else:
                    break
        flash.cut_after = None
        kept = whole(hal.board.flashes)
        assert cuts >= 2 * len(content) // SECTOR_SIZE


def test_starts_that_fail_end_in_safe_mode_and_then_with_the_flashed_firmware() -> None:
    flash = Flash(2 * SECTOR_SIZE)

    def start(from_mains: bool = False) -> tuple[int, bool]:
        started = Slots(Record(flash, 0, slots.STATE_SLOT_SIZE)).begin(from_mains, lambda slot: True)
        return started.slot, started.safe

    chosen = Slots(Record(flash, 0, slots.STATE_SLOT_SIZE))
    chosen.stage(1, 2)
    chosen.begin(False, lambda slot: True)
    chosen.confirm(2)
    assert [start(True) for _ in range(9)] == [(1, False)] * 9, "the mains may go as often as they like"
    assert [start() for _ in range(6)] == [(1, False)] * 2 + [(1, True)] * 3 + [(0, True)]
    Slots(Record(flash, 0, slots.STATE_SLOT_SIZE)).settle()
    assert start() == (1, False)
