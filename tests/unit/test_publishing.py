"""Firmware is published if a socket would take it, and only ever newer; what was withdrawn is offered no more."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from eventsourcing.persistence import RecordConflictError

from domain.errors import ImageRejected, InvalidInput, Missing, RuleBroken
from domain.firmware_image import ImageHead, encode_image
from domain.firmware_keys import private_pem, public_pem, read_private_key, read_public_keys, sign, signer_of
from domain.lifecycle.entity import Entity
from domain.lifecycle.firmware import (
    MOST_COUNTER,
    DeviceFacts,
    FirmwareReleases,
    Release,
    ReleaseDirectory,
    choose_release,
    firmware_aggregate_id,
)
from tests.firmware.signed_images import BOARD, image, key
from tests.unit.lifecycle_parts import NOW, Parts, cause

ADMIN = "user:0b9b4d7e-4f2c-4c1e-9a50-0d4f0a9c2a11"


@pytest.fixture
def parts() -> Parts:
    return Parts(read_public_keys(public_pem(key(0))))


def of_version(version: str, counter: int, board: str = BOARD) -> bytes:
    return encode_image(ImageHead(board, version, counter), {"main.py": b""}, lambda head: sign(key(0), head))


def publish(parts: Parts, content: bytes, notes: str | None = None) -> tuple[Release, bool]:
    return parts.firmware.publish(content, notes, cause(ADMIN))


def directory(parts: Parts) -> ReleaseDirectory:
    """What a process that follows the event store knows."""
    known = ReleaseDirectory()
    for one in parts.lifecycle.recorder.select_notifications(1, 1000):
        known.apply(parts.lifecycle.mapper.to_domain_event(one))
    return known


def test_a_release_says_what_it_is_and_who_published_it(parts: Parts) -> None:
    content = image(2)
    release, is_new = publish(parts, content, "steadier Wi-Fi")
    assert is_new
    (trusted,) = read_public_keys(public_pem(key(0)))
    sha256 = hashlib.sha256(content).hexdigest()
    said = (BOARD, "1.2.0", 2, len(content), sha256, trusted.fingerprint, "steadier Wi-Fi", NOW, ADMIN)
    assert release == Release(*said)
    assert parts.images.find(sha256) == content
    assert list(directory(parts).of_board(BOARD)) == [release]
    topics = [one.topic for one in parts.lifecycle.recorder.select_notifications(1, 9)]
    assert topics == ["wattaway.firmware-begun.v1", "wattaway.firmware-published.v1"]


def test_the_same_image_again_changes_nothing_and_brings_lost_bytes_back(parts: Parts) -> None:
    first, _ = publish(parts, image(2), "first")
    newest = parts.lifecycle.recorder.max_notification_id()
    parts.images.images.clear()
    assert publish(parts, image(2), "again") == (first, False)
    assert parts.lifecycle.recorder.max_notification_id() == newest
    assert parts.images.find(first.sha256) == image(2)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (of_version("1.4.0", 3), "release-not-newer"),
        (of_version("1.4.0", 2), "release-not-newer"),
        (of_version("1.3.0", 4), "release-not-newer"),
        (of_version("1.2.99", 4), "release-not-newer"),
    ],
    ids=["same counter", "lower counter", "same version", "lower version"],
)
def test_counters_and_versions_of_a_board_only_grow(parts: Parts, content: bytes, kind: str) -> None:
    publish(parts, image(3))
    with pytest.raises(RuleBroken) as refused:
        publish(parts, content)
    assert refused.value.kind == kind
    assert parts.images.find(hashlib.sha256(content).hexdigest()) is None, "what was refused is not stored"
    publish(parts, of_version("1.10.0", 4))
    publish(parts, of_version("0.1.0", 1, board="another"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (image(2, signer=1), "signature"),
        (image(2)[:-1], "truncated"),
        (image(2) + b"x", "format"),
        (image(2)[:-1] + b"x", "digest"),
        (b"", "truncated"),
        (bytes(600), "format"),
        (of_version("1.2", 2), "version"),
        (of_version("1.2.0-rc1", 2), "version"),
        (of_version("01.2.0", 2), "version"),
        (of_version("1.2.0", MOST_COUNTER + 1), "counter"),
    ],
    # Bytes from a random key name no test: each process would call it otherwise.
    ids=["foreign key", "truncated", "longer", "a byte", "nothing", "noughts", "two", "suffix", "nought", "counter"],
)
def test_what_a_socket_would_refuse_is_not_published(parts: Parts, content: bytes, reason: str) -> None:
    with pytest.raises(ImageRejected) as refused:
        publish(parts, content)
    assert refused.value.reason == reason
    assert not parts.images.images
    assert parts.lifecycle.find(FirmwareReleases, firmware_aggregate_id(BOARD)) is None


def test_without_a_trusted_key_and_with_endless_notes_nothing_is_published(parts: Parts) -> None:
    with pytest.raises(RuleBroken, match="WATTAWAY_FIRMWARE_KEYS"):
        Parts().firmware.publish(image(2), None, cause())
    with pytest.raises(InvalidInput, match="notes"):
        publish(parts, image(2), "x" * 501)


def test_a_withdrawn_release_is_offered_to_nobody_and_never_published_again(parts: Parts) -> None:
    for counter in (2, 3):
        publish(parts, image(counter))
    asks = DeviceFacts("kettle", BOARD, 1)
    third = choose_release(directory(parts).of_board(BOARD), asks)
    assert third is not None and third.counter == 3
    withdrawn = parts.firmware.withdraw(BOARD, 3, "drops the Wi-Fi", cause(ADMIN, after_s=5))
    assert (withdrawn.withdrawn_by, withdrawn.withdrawn_reason) == (ADMIN, "drops the Wi-Fi")
    assert parts.firmware.withdraw(BOARD, 3, "again", cause(after_s=9)) == withdrawn
    second = choose_release(directory(parts).of_board(BOARD), asks)
    assert second is not None and second.counter == 2
    assert directory(parts).by_sha256(third.sha256) is None
    assert directory(parts).by_sha256(second.sha256) == second
    with pytest.raises(RuleBroken) as refused:
        publish(parts, image(3))
    assert refused.value.kind == "release-withdrawn"
    with pytest.raises(RuleBroken):
        publish(parts, of_version("1.3.0", 3))
    for board, counter in ((BOARD, 4), ("another", 2)):
        with pytest.raises(Missing) as missing:
            parts.firmware.withdraw(board, counter, None, cause())
        assert missing.value.kind == "unknown-release"


@pytest.mark.parametrize(
    ("board", "runs", "offered"),
    [(BOARD, 0, 3), (BOARD, 2, 3), (BOARD, 3, None), (BOARD, 9, None), ("another", 0, 2), ("unknown", 0, None)],
)
def test_a_socket_is_offered_the_newest_release_of_its_board_that_is_newer_than_its_own(
    parts: Parts, board: str, runs: int, offered: int | None
) -> None:
    for content in (image(2), image(3), image(2, board="another")):
        publish(parts, content)
    everything = [one for name in (BOARD, "another") for one in directory(parts).of_board(name)]
    chosen = choose_release(everything, DeviceFacts("kettle", board, runs))
    assert (None if chosen is None else (chosen.board, chosen.counter)) == (offered and (board, offered))


def test_who_was_slower_decides_anew(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(parts, image(2))
    store, others = parts.lifecycle.store, [image(3)]

    def store_after_somebody_else(*aggregates: Entity) -> int:
        while others:
            publish(parts, others.pop())
        return store(*aggregates)

    monkeypatch.setattr(parts.lifecycle, "store", store_after_somebody_else)
    assert publish(parts, image(4))[1]
    assert [one.counter for one in directory(parts).of_board(BOARD)] == [2, 3, 4]

    def never(*aggregates: Entity) -> int:
        raise RecordConflictError

    monkeypatch.setattr(parts.lifecycle, "store", never)
    with pytest.raises(RecordConflictError):
        publish(parts, image(5))


def test_only_keys_that_sockets_can_check_are_taken() -> None:
    short = rsa.generate_private_key(65537, 2048)
    elliptic = ec.generate_private_key(ec.SECP256R1())
    form = (Encoding.PEM, PrivateFormat.PKCS8)
    locked = key(0).private_bytes(*form, BestAvailableEncryption(b"secret"))
    for pem in (b"", b"nonsense", private_pem(short), locked, elliptic.private_bytes(*form, NoEncryption())):
        with pytest.raises(InvalidInput):
            read_private_key(pem)
    for pem in (
        b"",
        private_pem(key(0)),
        public_pem(short),
        b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
    ):
        with pytest.raises(InvalidInput):
            read_public_keys(pem)
    assert read_private_key(private_pem(key(0))).private_numbers() == key(0).private_numbers()
    both = read_public_keys(public_pem(key(0)) + b"\n# the old one\n" + public_pem(key(1)))
    assert signer_of(b"head", sign(key(1), b"head"), both) == both[1]
    assert signer_of(b"head", sign(key(1), b"tail"), both) is None
