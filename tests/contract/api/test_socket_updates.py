"""A real MicroPython socket takes its update from the real API: signed and published on the command line, in parts over
a line that breaks; what is withdrawn, signed by another key or older never starts.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from domain.firmware_keys import TrustedKey, public_pem, read_public_keys
from ops.cli import app
from tests.contract.api.corner import ApiCorner
from tests.firmware.micropython import run
from tests.firmware.signed_images import BOARD, FILES, image, key
from tests.servers import World

GOOD = {"connected": True, "metered": True, "receipted": True}
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def world(embedded_world: World) -> World:
    """Nothing here depends on which servers these are."""
    return embedded_world


@pytest.fixture
def signing(tmp_path: Path) -> Path:
    """The fleet's private key."""
    told = CliRunner().invoke(app, ["firmware", "new-key", str(tmp_path / "fleet.pem")])
    assert told.exit_code == 0, told.output
    return tmp_path / "fleet.pem"


@pytest.fixture
def firmware_keys(signing: Path) -> Sequence[TrustedKey]:
    """The fleet's, and two that this board does not know."""
    known = signing.with_suffix(".public.pem").read_bytes()
    return read_public_keys(known + public_pem(key(0)) + public_pem(key(1)))


@pytest.fixture
def board(tmp_path: Path, signing: Path) -> Path:
    """A socket's flash."""
    folder = tmp_path / "socket"
    folder.mkdir()
    (folder / "board.json").write_text(json.dumps({"name": BOARD}))
    (folder / "update_key.bin").write_bytes(signing.with_suffix(".update_key.bin").read_bytes())
    return folder


class Socket:
    """The story of one socket at an API."""

    def __init__(self, api: ApiCorner, folder: Path) -> None:
        api.members.register(api.owner.tenant_id, "kettle")
        self._token, self._folder = api.members.device_tokens["kettle"], folder
        self.port = int(api.base_url.rpartition(":")[2])

    async def check(self, port: int | None = None, **plan: Any) -> dict[str, Any]:
        return await self._play("check", port=port or self.port, token=self._token, **plan)

    async def start(self, **plan: Any) -> dict[str, Any]:
        return await self._play("start", **plan)

    async def _play(self, do: str, **plan: Any) -> dict[str, Any]:
        (self._folder / "plan.json").write_text(json.dumps({"do": do, **plan}))
        [told] = await asyncio.to_thread(run, "update_story.py", str(self._folder), timeout_s=120)
        assert isinstance(told, dict)
        return told


@pytest.fixture
def socket(api: ApiCorner, board: Path) -> Socket:
    return Socket(api, board)


@asynccontextmanager
async def breaking_line(
    upstream: int, after: int, before_answer: Callable[[int], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[int, list[str | None]]]:
    """A line that breaks each download after so many bytes; its port, and the `Range` of each."""
    ranges: list[str | None] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            request = await reader.readuntil(b"\r\n\r\n")
            left = 10_000
            if b"/images/" in request.partition(b"\r\n")[0]:
                found = re.search(rb"Range: (bytes=\S+)\r\n", request)
                ranges.append(None if found is None else found[1].decode())
                if before_answer is not None:
                    await before_answer(len(ranges))
                left = after
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
            up_writer.write(request)
            while left and (piece := await up_reader.read(min(left, 4096))):
                writer.write(piece)
                await writer.drain()
                left -= len(piece)
            up_writer.close()
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], ranges


def built(folder: Path, counter: int) -> Path:
    """What the build leaves of release 1.`counter`.0."""
    version = f"1.{counter}.0"
    (folder / "app").mkdir(parents=True)
    release = f'VERSION = "{version}"\nCOUNTER = {counter}\n'.encode()
    for name, content in {**FILES, "release.py": release}.items():
        (folder / "app" / name).write_bytes(content)
    (folder / "build.json").write_text(json.dumps({"board": BOARD, "version": version, "counter": counter}))
    return folder


async def wattaway(api: ApiCorner, *arguments: object) -> Result:
    """A command of an admin, who shows a token from the environment."""
    line = ["firmware", *map(str, arguments), "--api", api.base_url]
    told = await asyncio.to_thread(CliRunner().invoke, app, line, env={"WATTAWAY_TOKEN": api.token, "COLUMNS": "250"})
    assert api.token not in told.output + str(told.exception)
    return told


async def publish(api: ApiCorner, content: bytes) -> None:
    answer = await api.client.post("/api/v1/firmware", content=content, headers=OCTETS)
    assert answer.status_code == 201, answer.text


async def test_what_was_signed_and_published_comes_in_over_a_breaking_line_and_stays(
    api: ApiCorner, socket: Socket, signing: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.wafw"
    signed = CliRunner().invoke(
        app, ["firmware", "sign", str(built(tmp_path / "b2", 2)), "--key", str(signing), "-o", str(file)]
    )
    assert signed.exit_code == 0, signed.output
    published = await wattaway(api, "publish", file, "--notes", "steadier Wi-Fi")
    assert published.exit_code == 0, (published.output, published.exception)
    assert "1.2.0, counter 2: published" in published.output
    again = await wattaway(api, "publish", file)
    assert "was published before" in again.output
    async with breaking_line(socket.port, 5_000) as (port, ranges):
        told = await socket.check(port)
    assert told["staged"], told
    assert ranges == [None, "bytes=4096-", "bytes=8192-", "bytes=12288-"]
    trial = await socket.start(signs=GOOD)
    assert (trial["slot"], trial["runs"]) == (1, "1.2.0")
    assert trial["told"][0]["result"] == "confirmed"
    assert not (await socket.check(counter=2))["staged"], "there is nothing newer"
    api.project()
    listed = await wattaway(api, "releases", "--json")
    (release,) = json.loads(listed.output)
    assert (release["board"], release["notes"]) == (BOARD, "steadier Wi-Fi")
    assert "steadier Wi-Fi" in (await wattaway(api, "releases", "--board", BOARD)).output


async def test_a_withdrawn_release_never_starts(api: ApiCorner, socket: Socket, signing: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.wafw"
    arguments = ["firmware", "sign", str(built(tmp_path / "b2", 2)), "--key", str(signing), "-o", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    await publish(api, file.read_bytes())

    async def withdraw(downloads: int) -> None:
        if downloads == 2:
            answer = await api.client.delete(f"/api/v1/firmware/{BOARD}/2")
            assert answer.status_code == 200

    async with breaking_line(socket.port, 5_000, withdraw) as (port, ranges):
        told = await socket.check(port)
    assert (told["staged"], told["error"]) == (False, "status 404"), "withdrawn in the middle of the download"
    assert ranges[:2] == [None, "bytes=4096-"]
    assert (await socket.check())["staged"] is False
    assert (await socket.start())["slot"] == 0
    missing = await wattaway(api, "withdraw", BOARD, 7)
    assert (missing.exit_code, str(missing.exception)) == (1, f"no release 7 of board {BOARD}")
    withdrawn = await wattaway(api, "withdraw", BOARD, 2, "--reason", "again")
    assert "withdrawn at" in withdrawn.output


async def test_what_another_key_signed_never_starts(api: ApiCorner, socket: Socket) -> None:
    await publish(api, image(2, signer=1))
    told = await socket.check()
    assert told["told"] == [{"event": "update", "result": "refused", "version": "1.2.0", "reason": "signature"}]
    assert (await socket.start())["slot"] == 0


async def test_an_older_release_is_not_even_offered(api: ApiCorner, socket: Socket) -> None:
    await publish(api, image(2))
    for runs in (2, 3):
        told = await socket.check(counter=runs)
        assert (told["staged"], told["error"], told["told"]) == (False, None, [])
    assert (await socket.start())["slot"] == 0


async def test_a_socket_whose_token_was_rotated_gets_nothing(api: ApiCorner, socket: Socket) -> None:
    await publish(api, image(2))
    api.members.application.sockets.rotate_token("kettle", api.members.cause())
    await api.services.deciding.follower.catch_up()
    assert (await socket.check())["error"] == "status 401"
