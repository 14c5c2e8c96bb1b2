"""Firmware over HTTP: admins publish, list and withdraw it; sockets are offered it and download it, or parts of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from api.schemas import Page
from api.schemas_firmware import FirmwareOffer, FirmwareRelease
from domain.firmware_keys import TrustedKey, public_pem, read_public_keys
from tests.contract.api.corner import ApiCorner
from tests.firmware.signed_images import BOARD, image, key

# What depends on the database is tested on both in tests/contract/test_image_store.py.
pytestmark = pytest.mark.long_on_stack
OCTETS = {"Content-Type": "application/octet-stream"}
IMAGE = image(2, files={"main.py": b"", "big.bin": bytes(range(256)) * 900})
SHA256 = hashlib.sha256(IMAGE).hexdigest()
WHERE = f"/api/v1/device/firmware/images/{SHA256}"


@pytest.fixture
def firmware_keys() -> Sequence[TrustedKey]:
    return read_public_keys(public_pem(key(0)))


@pytest.fixture
async def socket(api: ApiCorner) -> AsyncIterator[httpx.AsyncClient]:
    """A socket that asks with its own token."""
    api.members.register(api.owner.tenant_id, "kettle")
    yield api.program(api.members.device_tokens["kettle"])


async def publish(api: ApiCorner, content: bytes = IMAGE, **query: str) -> httpx.Response:
    return await api.client.post("/api/v1/firmware", content=content, headers=OCTETS, params=query)


async def offered(socket: httpx.AsyncClient, counter: int = 1, board: str = BOARD) -> Any:
    """What a socket is offered, None if nothing."""
    answer = await socket.get("/api/v1/device/firmware", params={"board": board, "counter": counter})
    assert answer.status_code == (200 if answer.content else 204), answer.text
    return answer.json() if answer.content else None


async def test_what_is_published_is_offered_listed_and_audited(api: ApiCorner, socket: httpx.AsyncClient) -> None:
    assert await offered(socket) is None
    answer = await publish(api, notes="Größer\nund besser")
    assert answer.status_code == 201
    release = answer.json()
    FirmwareRelease.model_validate(release)
    assert (release["board"], release["version"], release["counter"], release["size"]) == (
        BOARD,
        "1.2.0",
        2,
        len(IMAGE),
    )
    assert (release["sha256"], release["notes"]) == (SHA256, "Größer\nund besser")
    assert release["published_by"].startswith(f"token:{api.owner.user_id}/")
    offer = await offered(socket)
    FirmwareOffer.model_validate(offer)
    assert offer == {"version": "1.2.0", "counter": 2, "size": len(IMAGE), "sha256": SHA256, "url": WHERE}
    assert await offered(socket, counter=2) is None
    assert await offered(socket, board="another") is None
    again = await publish(api)
    assert (again.status_code, again.json()) == (200, release)
    api.project()
    listed = await api.get("firmware")
    Page[FirmwareRelease].model_validate(listed)
    assert listed == {"items": [release], "next_cursor": None}
    records = (await api.get("audit", subject=f"firmware:{BOARD}"))["items"]
    assert {one["action"] for one in records} == {"firmware-begun", "firmware-published"}
    (record,) = [one for one in records if one["action"] == "firmware-published"]
    assert (record["actor"], record["after"]["sha256"]) == (release["published_by"], SHA256)


async def test_a_withdrawn_release_is_neither_offered_nor_downloaded(api: ApiCorner, socket: httpx.AsyncClient) -> None:
    await publish(api)
    api.clock.at_ms += 1000
    await publish(api, image(3))
    newer = await offered(socket)
    assert newer["counter"] == 3
    answer = await api.client.delete(f"/api/v1/firmware/{BOARD}/3", params={"reason": "drops the Wi-Fi"})
    assert answer.status_code == 200
    assert answer.json()["withdrawn_reason"] == "drops the Wi-Fi"
    assert (await offered(socket))["counter"] == 2
    assert (await socket.get(newer["url"])).json()["type"] == "/problems/unknown-image"
    assert (await socket.get(WHERE)).status_code == 200
    assert (await api.client.delete(f"/api/v1/firmware/{BOARD}/3")).json() == answer.json()
    assert (await publish(api, image(3))).json()["type"] == "/problems/release-withdrawn"
    api.project()
    items = (await api.get("firmware", board=BOARD))["items"]
    assert [(one["counter"], one["withdrawn_reason"]) for one in items] == [(3, "drops the Wi-Fi"), (2, None)]
    for gone in (f"{BOARD}/4", "another/3"):
        missing = await api.client.delete(f"/api/v1/firmware/{gone}")
        assert (missing.status_code, missing.json()["type"]) == (404, "/problems/unknown-release")


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (image(4, signer=1), 422, "none of the keys"),
        (IMAGE[:-1], 422, "the head says"),
        (b"", 422, "not even a head"),
        (image(2), 409, "not above 3"),
        (image(3, files={"main.py": b"2"}), 409, "not above 3"),
    ],
    ids=["foreign key", "truncated", "nothing", "older", "same counter"],
)
async def test_what_no_socket_may_have_is_refused(api: ApiCorner, content: bytes, status: int, said: str) -> None:
    await publish(api, image(3))
    answer = await publish(api, content)
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_image_has_its_media_type_and_notes_are_words(api: ApiCorner) -> None:
    answer = await api.client.post("/api/v1/firmware", content=IMAGE[:100], headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert (await publish(api, notes="a\x00b")).status_code == 422
    assert (await publish(api, notes="x" * 501)).status_code == 422


async def test_a_session_shows_its_password_again_before_it_publishes(api: ApiCorner) -> None:
    person = await api.person()
    api.clock.at_ms += 11 * 60_000
    answer = await person.post("/api/v1/firmware", content=IMAGE, headers=OCTETS)
    assert answer.json()["type"] == "/problems/reauthentication-needed"
    shown = await person.post("/api/v1/session/reauthentication", json={"password": api.owner.password})
    person.headers["X-CSRF-Token"] = shown.json().get("csrf_token", person.headers["X-CSRF-Token"])
    assert (await person.post("/api/v1/firmware", content=IMAGE, headers=OCTETS)).status_code == 201


# --- downloads ------------------------------------------------------------------------------------------


async def test_a_whole_image_may_be_kept_by_the_socket_and_by_nobody_on_the_way(
    api: ApiCorner, socket: httpx.AsyncClient
) -> None:
    await publish(api)
    answer = await socket.get(WHERE)
    assert (answer.status_code, answer.content) == (200, IMAGE)
    assert answer.headers["etag"] == f'"{SHA256}"'
    assert answer.headers["content-length"] == str(len(IMAGE))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert (answer.headers["accept-ranges"], answer.headers["content-type"]) == ("bytes", OCTETS["Content-Type"])
    known = await socket.get(WHERE, headers={"If-None-Match": f'"{SHA256}"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", f'"{SHA256}"')
    head = await socket.head(WHERE, headers={"Range": "bytes=5-"})
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["content-length"], head.headers["etag"]) == (str(len(IMAGE)), f'"{SHA256}"')


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=4096-", 4096, None), ("bytes=70000-140000", 70_000, 140_000), ("bytes=-5", -5, None)],
)
async def test_a_part_is_exactly_what_was_asked_for(
    api: ApiCorner, socket: httpx.AsyncClient, wanted: str, first: int, last: int | None
) -> None:
    await publish(api)
    answer = await socket.get(WHERE, headers={"Range": wanted, "If-Range": f'"{SHA256}"'})
    expected = IMAGE[first:] if last is None else IMAGE[first : last + 1]
    start = first % len(IMAGE)
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(IMAGE)}"
    assert answer.headers["content-length"] == str(len(expected))
    whole = await socket.get(WHERE, headers={"Range": wanted, "If-Range": '"another"'})
    assert (whole.status_code, whole.content) == (200, IMAGE)


async def test_a_part_behind_the_end_is_refused(api: ApiCorner, socket: httpx.AsyncClient) -> None:
    await publish(api)
    answer = await socket.get(WHERE, headers={"Range": f"bytes={len(IMAGE)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(IMAGE)}")
    assert answer.json()["type"] == "/problems/range-not-satisfiable"
    assert answer.headers["cache-control"] == "no-store"


async def test_only_sockets_download(api: ApiCorner) -> None:
    await publish(api)
    assert (await api.stranger().get(WHERE)).status_code == 401
    assert (await api.client.get(WHERE)).status_code == 403
    assert (await (await api.person()).get(WHERE)).status_code == 403


async def test_a_fleet_that_comes_at_once_asks_the_database_once(
    api: ApiCorner, socket: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(api)
    images, asked = api.members.application.firmware.images, []
    find = images.find

    def counted(sha256: str) -> bytes | None:
        asked.append(sha256)
        return find(sha256)

    monkeypatch.setattr(images, "find", counted)
    answers = await asyncio.gather(*(socket.get(WHERE) for _ in range(12)))
    assert all(answer.content == IMAGE for answer in answers)
    assert asked == [SHA256]


async def test_a_lost_image_is_not_there_until_it_is_published_again(
    api: ApiCorner, socket: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(api)
    database = api.members.application.database
    with database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM firmware_images")
    assert (await socket.get(WHERE)).status_code == 404
    assert (await publish(api)).status_code == 200
    assert (await socket.get(WHERE)).content == IMAGE
