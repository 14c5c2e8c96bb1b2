"""`wattaway firmware sign`, `new-key` and what asks the API: clear complaints, and no key or token goes astray."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from domain.errors import DependencyUnavailable, RuleBroken, SettingInvalid
from domain.firmware_image import ImageHead, decode_image
from domain.firmware_keys import read_private_key, signer_of
from ops.application import open_application
from ops.cli import app
from ops.firmware.api import ApiRefused, FirmwareApi
from ops.firmware.build_dir import read_build
from ops.firmware.sign import signed_image
from ops.wiring import firmware_keys, migrate
from tests.servers import settings_from
from tests.unit.lifecycle_parts import cause

TOKEN = "wat_" + "5" * 64
RELEASE = b'VERSION = "1.2.0"\nCOUNTER = 3\n'


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.pem"
    told = run("new-key", path)
    assert told.exit_code == 0, told.output
    return path


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What the build leaves."""
    app = tmp_path / "build" / "app"
    app.mkdir(parents=True)
    for name, content in (("main.py", b"import release"), ("release.py", RELEASE), ("relay.mpy", b"M\x06")):
        (app / name).write_bytes(content)
    write_head(tmp_path / "build")
    return tmp_path / "build"


def write_head(build: Path, **changes: Any) -> None:
    said = {"board": "uart-cse7766", "version": "1.2.0", "counter": 3, "micropython": "1.28", **changes}
    (build / "build.json").write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


def run(*arguments: object, **env: str | None) -> Result:
    return CliRunner().invoke(app, ["firmware", *map(str, arguments)], env=env)


def test_what_is_signed_is_the_build_and_the_servers_key_knows_it(build: Path, key: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.wafw"
    told = run("sign", build, "--key", key, "-o", target)
    assert told.exit_code == 0, told.output
    image = decode_image(target.read_bytes())
    assert image.head == ImageHead("uart-cse7766", "1.2.0", 3)
    assert image.files == {"main.py": b"import release", "release.py": RELEASE, "relay.mpy": b"M\x06"}
    settings = settings_from({"WATTAWAY_FIRMWARE_KEYS": str(tmp_path / "fleet.public.pem")})
    (trusted,) = firmware_keys(settings)
    assert signer_of(image.signed, image.signature, [trusted]) == trusted
    assert trusted.fingerprint in told.output
    modulus = (tmp_path / "fleet.update_key.bin").read_bytes()
    assert int.from_bytes(modulus, "big") == trusted.key.public_numbers().n
    assert len(modulus) == 384


def test_a_new_key_is_its_owners_and_never_replaces_another(key: Path) -> None:
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert read_private_key(before).key_size == 3072
    told = run("new-key", key)
    assert isinstance(told.exception, SettingInvalid)
    assert key.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"counter": None}, "counter"),
        ({"counter": 0}, "counter"),
        ({"counter": "3"}, "counter"),
        ({"version": "1.2"}, "three numbers"),
        ({"board": "uart cse"}, "uart cse"),
        ({"board": None}, "board"),
    ],
)
def test_a_head_that_does_not_fit_is_named(build: Path, key: Path, changes: dict[str, Any], said: str) -> None:
    write_head(build, **changes)
    told = run("sign", build, "--key", key, "-o", build / "out.wafw")
    assert isinstance(told.exception, SettingInvalid)
    assert said in str(told.exception)
    assert not (build / "out.wafw").exists()


@pytest.mark.parametrize("missing", ["build.json", "app", "app/main.py", "app/release.py"])
def test_what_is_missing_from_a_build_is_named(build: Path, key: Path, missing: str) -> None:
    (build / missing).rename(build / "elsewhere")
    told = run("sign", build, "--key", key, "-o", build / "out.wafw")
    assert isinstance(told.exception, SettingInvalid)
    assert Path(missing).name in str(told.exception)


def test_folders_and_wrong_keys_are_refused(build: Path, key: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.pem", tmp_path / "fleet.public.pem"):
        assert "--key" in str(run("sign", build, "--key", wrong).exception)
    for wrong in (tmp_path / "none.pem", tmp_path / "fleet.update_key.bin", key):
        with pytest.raises(SettingInvalid, match="WATTAWAY_FIRMWARE_KEYS"):
            firmware_keys(settings_from({"WATTAWAY_FIRMWARE_KEYS": str(wrong)}))
    assert firmware_keys(settings_from({})) == ()
    (build / "app" / "lib").mkdir()
    assert "no folders" in str(run("sign", build, "--key", key).exception)


# --- asking the API -------------------------------------------------------------------------------------


def test_without_a_token_or_an_image_nothing_is_asked(build: Path, key: Path, tmp_path: Path) -> None:
    image = tmp_path / "out.wafw"
    assert run("sign", build, "--key", key, "-o", image).exit_code == 0
    for env in ({"WATTAWAY_TOKEN": None}, {"WATTAWAY_TOKEN": "two words"}, {"WATTAWAY_TOKEN": "wat_1\nX: y"}):
        told = run("publish", image, "--api", "http://127.0.0.1:9", **env)
        assert "holds no API token" in str(told.exception), told.output
    image.write_bytes(image.read_bytes()[:-1])
    assert "the head says" in str(run("publish", image, WATTAWAY_TOKEN=TOKEN).exception)
    told = run("releases", "--api", "http://127.0.0.1:9", "--token-file", tmp_path / "none")
    assert "--token-file" in str(told.exception)


@pytest.mark.parametrize("url", ["http://wattaway.example.org", "ftp://127.0.0.1", "wattaway.example.org", "http://"])
def test_a_token_goes_over_https_or_to_this_machine_only(url: str) -> None:
    with pytest.raises(SettingInvalid, match="--api"):
        FirmwareApi(url, TOKEN)
    FirmwareApi("https://wattaway.example.org", TOKEN)
    FirmwareApi("http://[::1]:28080", TOKEN)


@contextmanager
def answering(status: int, **headers: str) -> Iterator[tuple[int, list[str | None]]]:
    """A server that answers so; its port, and the tokens it was shown."""
    shown: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            shown.append(self.headers["Authorization"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port, shown
        finally:
            server.shutdown()
            thread.join()


def test_a_redirect_does_not_take_the_token_along() -> None:
    with (
        answering(200) as (other, seen),
        answering(307, Location=f"http://127.0.0.1:{other}/") as (port, shown),
        pytest.raises(ApiRefused, match="307"),
    ):
        list(FirmwareApi(f"http://127.0.0.1:{port}", TOKEN).releases(None))
    assert shown == [f"Bearer {TOKEN}"]
    assert not seen


def test_what_is_no_answer_is_said_without_the_token() -> None:
    with answering(200) as (port, _), pytest.raises(DependencyUnavailable) as unreadable:
        list(FirmwareApi(f"http://127.0.0.1:{port}", TOKEN).releases(None))
    with pytest.raises(DependencyUnavailable) as away:
        list(FirmwareApi("http://127.0.0.1:9", TOKEN).releases(None))
    assert TOKEN not in str(unreadable.value) + str(away.value)


@pytest.mark.parametrize("command", ["sign", "new-key", "publish", "releases", "withdraw"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    told = run(command, "--help", COLUMNS="200")
    assert told.exit_code == 0
    assert f"wattaway firmware {command}" in told.output


def test_the_settings_say_whose_firmware_may_be_published(build: Path, key: Path, tmp_path: Path) -> None:
    content, _ = signed_image(read_build(build), key)
    places = {"WATTAWAY_DATA_DIR": str(tmp_path), "WATTAWAY_FIRMWARE_KEYS": str(tmp_path / "fleet.public.pem")}
    migrate(settings_from(places))
    with open_application(settings_from(places)) as application:
        release, is_new = application.firmware.publish(content, None, cause())
        assert is_new
        assert application.firmware.images.find(release.sha256) == content
    with (
        open_application(settings_from({"WATTAWAY_DATA_DIR": str(tmp_path)})) as application,
        pytest.raises(RuleBroken, match="WATTAWAY_FIRMWARE_KEYS"),
    ):
        application.firmware.publish(content, None, cause())
