"""TLS of downloads and of MQTT: only a server with the right name, by the authority that was told, is taken."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.authority import SERVER_NAME, Authority
from tests.firmware.download_server import ImageServer, serving
from tests.firmware.micropython import run
from tests.firmware.signed_images import BOARD, image, modulus, offer


@contextmanager
def broker(tls: ssl.SSLContext) -> Iterator[tuple[int, list[bytes]]]:
    """A server that takes one login and one message; its port, and the login."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with suppress(OSError), listening.accept()[0] as plain, tls.wrap_socket(plain, server_side=True) as stream:
                stream.settimeout(5)
                heard.append(stream.recv(1000))
                stream.sendall(b"\x20\x02\x00\x00")
                said = stream.recv(1000)
                # The packet's id stands behind its topic. Source: MQTT 3.1.1, 3.3.2 and 3.4.
                at = 4 + int.from_bytes(said[2:4], "big")
                stream.sendall(b"\x40\x02" + said[at : at + 2])
                stream.recv(1000)

        thread = threading.Thread(target=answer)
        listening.settimeout(20)
        thread.start()
        try:
            yield listening.getsockname()[1], heard
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("trusts", "name", "is_taken"),
    [("right", SERVER_NAME, True), ("wrong", SERVER_NAME, False), ("right", "other.test", False)],
    ids=["right", "another authority", "another name"],
)
def test_only_the_right_server_is_taken(tmp_path: Path, trusts: str, name: str, is_taken: bool) -> None:
    authorities = {kind: Authority(tmp_path, kind) for kind in ("right", "wrong")}
    tls, ca = authorities["right"].server(), str(authorities[trusts].path)
    with broker(tls) as (port, heard):
        [told] = run("log_in.py", str(port), ca, name)
    assert (told["lost"] is None) == is_taken, told
    assert [packet[:1] for packet in heard] == ([b"\x10"] if is_taken else []), "no token to a stranger"

    (tmp_path / "board.json").write_text(json.dumps({"name": BOARD}))
    (tmp_path / "update_key.bin").write_bytes(modulus())
    content = image()
    with serving(ImageServer(content, offer(content)), tls) as server:
        plan: dict[str, Any] = {"do": "check", "port": server.port, "ca": ca, "server_name": name}
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        [told] = run("update_story.py", str(tmp_path))
    assert told["staged"] == is_taken, told
    assert server.tokens == ({"Bearer " + "ab" * 32} if is_taken else set())
