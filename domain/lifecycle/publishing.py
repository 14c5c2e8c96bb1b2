"""Publishing firmware: nothing that a socket would refuse is stored, and the bytes are there before anybody knows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from domain.errors import ImageRejected, InvalidInput, Missing, RuleBroken
from domain.firmware_image import Image, decode_image
from domain.firmware_keys import TrustedKey, signer_of
from domain.lifecycle.cause import Cause
from domain.lifecycle.firmware import MOST_NOTES, FirmwareReleases, Release, firmware_aggregate_id
from domain.lifecycle.lifecycle import Lifecycle
from domain.ports import ImageStore


class PublishedRelease(NamedTuple):
    """A release; `is_new` is False if it was published before."""

    release: Release
    is_new: bool


class Publishing:
    """Blocking. Who may do it is checked before, by the policy.

    Args:
        keys: whose signatures count.
    """

    def __init__(self, lifecycle: Lifecycle, images: ImageStore, keys: Sequence[TrustedKey]) -> None:
        self._lifecycle, self.images, self._keys = lifecycle, images, keys

    def publish(self, content: bytes, notes: str | None, cause: Cause) -> PublishedRelease:
        """Let the sockets of its board have an image.

        Raises:
            ImageRejected: a socket would refuse it.
            RuleBroken: it is not newer than what there is, was withdrawn, or no key is configured.
            RecordConflictError: others published for this board several times in a row.
            DependencyUnavailable: the database is out of reach; it may be published all the same.
        """
        if notes is not None and len(notes) > MOST_NOTES:
            raise InvalidInput("notes", f"notes have at most {MOST_NOTES} characters")
        image = decode_image(content)
        signed_by = self._signer(image).fingerprint
        sha256 = hashlib.sha256(content).hexdigest()

        def publish() -> PublishedRelease:
            board = self._board(image.head.board, cause)
            is_new = board.publish(
                image.head, cause, size=len(content), sha256=sha256, signed_by=signed_by, notes=notes
            )
            # Not in the events' transaction: it holds a lock for which all other decisions wait.
            self.images.put(sha256, content)
            self._lifecycle.store(board)
            return PublishedRelease(board.releases[image.head.counter], is_new)

        return self._lifecycle.retry(publish)

    def withdraw(self, board: str, counter: int, reason: str | None, cause: Cause) -> Release:
        """Let no socket have a release any more.

        Raises:
            Missing: there is no such release.
        """
        if self._lifecycle.find(FirmwareReleases, firmware_aggregate_id(board)) is None:
            raise Missing("unknown-release", f"there is no firmware for board {board}")
        found, _ = self._lifecycle.change(
            FirmwareReleases, firmware_aggregate_id(board), lambda releases: releases.withdraw(counter, reason, cause)
        )
        return found

    def _board(self, board: str, cause: Cause) -> FirmwareReleases:
        found = self._lifecycle.find(FirmwareReleases, firmware_aggregate_id(board))
        return FirmwareReleases.of(board, cause) if found is None else found

    def _signer(self, image: Image) -> TrustedKey:
        if not self._keys:
            raise RuleBroken("no-firmware-keys", "no key is trusted here: set WATTAWAY_FIRMWARE_KEYS")
        signer = signer_of(image.signed, image.signature, self._keys)
        if signer is None:
            raise ImageRejected("signature", "none of the keys that this installation trusts has signed it")
        return signer
