"""Updates: what is signed, newer and whole comes in and proves itself or goes; nothing else ever starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.download_server import ImageServer, serving
from tests.firmware.micropython import run
from tests.firmware.signed_images import BOARD, image, modulus, offer

GOOD = {"connected": True, "metered": True, "receipted": True}


@pytest.fixture
def board(tmp_path: Path) -> Path:
    (tmp_path / "board.json").write_text(json.dumps({"name": BOARD}))
    (tmp_path / "update_key.bin").write_bytes(modulus())
    return tmp_path


def play(board: Path, do: str, **plan: Any) -> dict[str, Any]:
    (board / "plan.json").write_text(json.dumps({"do": do, **plan}))
    [told] = run("update_story.py", str(board))
    assert isinstance(told, dict)
    return told


def checked(board: Path, content: bytes, **faults: Any) -> tuple[dict[str, Any], ImageServer]:
    counter = faults.pop("counter", 2)
    plan = {name: faults.pop(name) for name in ("checks", "patience_s") if name in faults}
    with serving(ImageServer(content, offer(content, counter), **faults)) as server:
        return play(board, "check", port=server.port, **plan), server


def test_a_good_image_comes_in_has_its_trial_and_stays(board: Path) -> None:
    told, server = checked(board, image())
    assert told["staged"], told
    assert server.tokens == {"Bearer " + "ab" * 32}
    trial = play(board, "start", signs=GOOD)
    assert (trial["slot"], trial["trial"], trial["runs"]) == (1, True, "1.2.0")
    assert trial["told"] == [{"event": "update", "version": "1.2.0", "result": "confirmed"}, {"restarts": 0}]
    after = play(board, "start")
    assert (after["slot"], after["trial"], after["runs"]) == (1, False, "1.2.0")
    for counter in (1, 2):
        told, server = checked(board, image(counter), counter=counter)
        assert not told["staged"], "an older or equal release"
        assert not server.ranges
    told, _ = checked(board, image(3), counter=3)
    assert told["staged"]
    assert play(board, "start")["slot"] == 2


def test_an_image_that_does_not_prove_itself_goes_and_does_not_come_back_at_once(board: Path) -> None:
    assert checked(board, image())[0]["staged"]
    trial = play(board, "start", signs={**GOOD, "receipted": False})
    assert trial["told"][0]["result"] == "rolled_back"
    assert trial["told"][1] == {"restarts": 1}
    assert play(board, "start")["slot"] == 0
    assert not checked(board, image(), checks=6)[0]["staged"], "for hours"
    assert checked(board, image(), checks=7)[0]["staged"]
    play(board, "start", signs={**GOOD, "connected": False})
    assert checked(board, image(3), counter=3)[0]["staged"], "what is newer than the failed one may come"


def test_an_image_that_crashes_in_its_trial_goes(board: Path) -> None:
    assert checked(board, image())[0]["staged"]
    assert [play(board, "start")["slot"] for _ in range(4)] == [1, 1, 1, 0]


def test_a_broken_connection_goes_on_where_it_broke(board: Path) -> None:
    told, server = checked(board, image(), break_after=5_000)
    assert told["staged"], told
    assert server.ranges == [None, "bytes=4096-", "bytes=8192-", "bytes=12288-"]


@pytest.mark.parametrize(
    "faults",
    [{"knows_ranges": False, "statuses": [503]}, {"statuses": [404, 401]}, {"silent": True}],
    ids=["no ranges", "refused twice", "silent"],
)
def test_a_server_that_recovers_is_asked_again(board: Path, faults: dict[str, Any]) -> None:
    assert checked(board, image(), **faults)[0]["staged"]


@pytest.mark.parametrize(
    ("stalls_at", "pause_s", "goes_on_at"),
    [(5_000, None, 4_096), (5_000, 0.3, 4_096), (9_000, 0.3, 8_192), (10, 0.3, None), (10, None, None)],
    ids=["silent in the middle", "a trickle", "a trickle later on", "a trickling head", "silent in the head"],
)
def test_a_server_that_stalls_is_left_and_asked_for_the_rest(
    board: Path, stalls_at: int, pause_s: float | None, goes_on_at: int | None
) -> None:
    told, server = checked(board, image(), stalls_at=stalls_at, pause_s=pause_s, slow_downloads=1, patience_s=3)
    assert told["staged"], told
    assert server.ranges == [None, f"bytes={goes_on_at}-" if goes_on_at else None]


def test_a_server_that_only_ever_trickles_is_given_up_for_now(board: Path) -> None:
    told, server = checked(board, image(), stalls_at=300, pause_s=0.3, slow_downloads=6, patience_s=2)
    assert (told["staged"], told["error"], len(server.ranges)) == (False, "no answer in time", 6)
    assert checked(board, image())[0]["staged"]


def test_a_line_without_an_end_does_not_fill_the_memory(board: Path) -> None:
    told, server = checked(board, image(), endless_head=6)
    assert (told["staged"], told["error"], len(server.ranges)) == (False, "too long a line", 6)


def test_a_server_without_ranges_is_read_from_the_start(board: Path) -> None:
    told, server = checked(board, image(), knows_ranges=False, break_after=5_000)
    assert not told["staged"]
    assert server.ranges[1] == "bytes=4096-"
    assert checked(board, image(), knows_ranges=False)[0]["staged"]


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_flipped(image(), 200), "signature"),
        (_flipped(image(), 100), "signature"),
        (_flipped(image(), 9_000), "digest"),
        (image(signer=1), "signature"),
        (image(board="other"), "board"),
        (image(3), "offer"),
        (image()[:-1], "offer"),
    ],
    ids=["signature", "head", "byte", "foreign key", "board", "another release", "truncated"],
)
def test_what_is_not_for_this_socket_never_starts(board: Path, content: bytes, reason: str) -> None:
    told, _ = checked(board, content)
    assert told["told"] == [{"event": "update", "result": "refused", "version": "1.2.0", "reason": reason}]
    assert play(board, "start")["slot"] == 0


@pytest.mark.parametrize("status", [404, 401])
def test_a_server_that_refuses_brings_nothing(board: Path, status: int) -> None:
    told, server = checked(board, image(), statuses=[status] * 6)
    assert (told["staged"], told["error"], len(server.ranges)) == (False, f"status {status}", 6)


def test_a_server_that_tells_a_wrong_length_brings_nothing(board: Path) -> None:
    told, _ = checked(board, image(), said_length=5_000)
    assert told["told"][0]["reason"] == "truncated"
