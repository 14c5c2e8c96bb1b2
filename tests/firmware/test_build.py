"""`wattaway firmware build`: the same bytes every time, all that a board needs, nothing that would not start on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from esp_idf_defs import PartitionTable
from typer.testing import CliRunner, Result

from domain.errors import SettingInvalid
from domain.firmware_image import ImageHead, decode_image
from domain.firmware_keys import private_pem, read_public_keys, signer_of
from ops.cli import app
from tests.firmware.micropython import FIRMWARE
from tests.firmware.micropython_bin import micropython_bin
from tests.firmware.signed_images import key, modulus


def public_pem(private: rsa.RSAPrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def built(folder: Path, *more: str, **options: Path | str) -> Result:
    said: dict[str, Any] = {"board": "pulse-bl0937", "output": folder / "build", **options}
    if "micropython" not in said:
        said["micropython"] = micropython_bin(folder / "micropython.bin")
    if "update_key" not in said:
        said["update_key"] = folder / "key.pem"
        (folder / "key.pem").write_bytes(public_pem(key(0)))
    words = [word for name, value in said.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return CliRunner().invoke(app, ["firmware", "build", *words, *more])


def refusal(ran: Result) -> str:
    assert isinstance(ran.exception, SettingInvalid), ran.exception
    return str(ran.exception)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_input_gives_the_same_bytes_and_replaces_the_build_before(tmp_path: Path) -> None:
    first = built(tmp_path, "--version", "2.0.0", "--counter", "7")
    assert first.exit_code == 0, first.exception
    assert "pulse-bl0937, release 2.0.0 (7), MicroPython 1.28.0" in first.output
    before = content(tmp_path / "build")
    (tmp_path / "build" / "app" / "stale.mpy").touch()
    assert built(tmp_path, "--version", "2.0.0", "--counter", "7").exit_code == 0
    assert content(tmp_path / "build") == before


def test_a_build_is_signed_as_it_stands_and_sockets_of_its_key_take_it(tmp_path: Path) -> None:
    assert built(tmp_path, "--version", "2.0.0", "--counter", "7").exit_code == 0
    (tmp_path / "private.pem").write_bytes(private_pem(key(0)))
    words = ["sign", tmp_path / "build", "--key", tmp_path / "private.pem", "-o", tmp_path / "out.wafw"]
    signed = CliRunner().invoke(app, ["firmware", *map(str, words)])
    assert signed.exit_code == 0, signed.exception
    found = decode_image((tmp_path / "out.wafw").read_bytes())
    assert found.head == ImageHead("pulse-bl0937", "2.0.0", 7)
    assert found.files == content(tmp_path / "build" / "app")
    assert signer_of(found.signed, found.signature, read_public_keys((tmp_path / "key.pem").read_bytes()))


def test_a_build_holds_all_that_an_update_brings_and_all_that_is_flashed(tmp_path: Path) -> None:
    (tmp_path / "modulus").write_bytes(modulus())
    assert built(tmp_path, update_key=tmp_path / "modulus").exit_code == 0
    folder = tmp_path / "build"
    told = json.loads((folder / "build.json").read_text())
    assert {name: told[name] for name in ("board", "version", "counter", "micropython")} == {
        "board": "pulse-bl0937",
        "version": "1.0.0",
        "counter": 1,
        "micropython": "1.28.0",
    }
    sources = {path.stem for path in FIRMWARE.glob("*.py")} - {"boot", "main"}
    assert set(told["files"]) == {"main.py", *(f"{name}.mpy" for name in sources)}
    assert sorted(path.name for path in (folder / "app").iterdir()) == told["files"]
    # Bytecode 6 without machine code, for small integers of 31 bits: what a 32-bit board has.
    assert {path.read_bytes()[:4] for path in (folder / "app").glob("*.mpy")} == {b"M\x06\x00\x1f"}
    image = (folder / "firmware.bin").read_bytes()
    for name, at in told["parts"].items():
        part = (folder / name).read_bytes()
        assert image[at : at + len(part)] == part, name
    slots = PartitionTable.from_binary((folder / "partitions.bin").read_bytes())["slots"]
    assert image[slots.offset :] == b"\xff" * slots.size, "no update in them starts instead of what is flashed"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"version": "v1.27.0"}, "it is MicroPython 1.27.0; the firmware is compiled for 1.28 (bytecode 6.3)"),
        ({"version": "(with v2.0 preview) v1.28.0"}, "it does not say which MicroPython it is"),
        ({"chip": 9}, "its boot loader is for the ESP32S3, not for the ESP32"),
        ({"flash_size": 1}, "it is for a flash of less than 4 MiB"),
        (
            {"table": "nvs,data,nvs,0x9000,0x6000\nota_0,app,ota_0,0x10000,0x180000\n"},
            "another one than that of the plain",
        ),
        ({"application_bytes": 0x1F0000}, "there is room for 2031616"),
    ],
    ids=["older", "preview", "chip", "flash", "table", "size"],
)
def test_another_micropython_is_refused(tmp_path: Path, made: dict[str, Any], why: str) -> None:
    ran = built(tmp_path, micropython=micropython_bin(tmp_path / "other.bin", **made))
    assert refusal(ran).startswith("--micropython: other.bin: ")
    assert why in refusal(ran)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda whole: whole[:5000], "boot loader is damaged"),
        (lambda whole: whole[:0x7005] + b"\1" + whole[0x7006:], "partition table is damaged"),
        (lambda whole: whole[:-100], "application is damaged"),
        (lambda whole: whole[:70_000] + bytes([whole[70_000] ^ 1]) + whole[70_001:], "application is damaged"),
        (lambda whole: b"", "boot loader is damaged"),
    ],
    ids=["boot loader", "table", "truncated", "bit", "empty"],
)
def test_a_damaged_micropython_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], why: str) -> None:
    path = micropython_bin(tmp_path / "other.bin")
    path.write_bytes(damage(path.read_bytes()))
    assert why in refusal(built(tmp_path, micropython=path))


def test_what_sockets_could_not_check_is_no_update_key(tmp_path: Path) -> None:
    path = tmp_path / "other.pem"
    wrong = {
        b"": "neither a public key in PEM nor a modulus",
        modulus()[1:]: "neither",
        public_pem(rsa.generate_private_key(65537, 2048)): "no RSA key of 3072 bits",
        public_pem(rsa.generate_private_key(3, 3072)): "the exponent is 3",
    }
    for written, why in wrong.items():
        path.write_bytes(written)
        assert why in refusal(built(tmp_path, update_key=path))
    assert "cannot be read" in refusal(built(tmp_path, update_key=tmp_path / "none"))


def test_a_board_that_the_firmware_would_not_take_is_refused(tmp_path: Path) -> None:
    board = json.loads((FIRMWARE / "boards" / "pulse-bl0937.json").read_text())
    path = tmp_path / "board.json"
    path.write_text(json.dumps({**board, "name": "mine"}))
    assert built(tmp_path, board=path).exit_code == 0
    path.write_text(json.dumps({**board, "led": {"pin": 6, "active_low": True}}))
    assert "led.pin: carries the flash" in refusal(built(tmp_path, board=path))
    path.write_text(json.dumps({**board, "name": "my board"}))
    assert "name: letters" in refusal(built(tmp_path, board=path))
    assert "none of pulse-bl0937, pulse-hlw8012, uart-bl0942, uart-cse7766" in refusal(built(tmp_path, board="other"))


def test_a_release_that_no_image_can_name_is_refused(tmp_path: Path) -> None:
    assert "--version" in refusal(built(tmp_path, "--version", "1.0 beta"))
    assert "--version" in refusal(built(tmp_path, "--version", "1.0.0-rc1"))
    assert "--counter" in refusal(built(tmp_path, "--counter", "0"))
    assert "--counter" in refusal(built(tmp_path, "--counter", str(2**30)))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    assert "holds something else than a build" in refusal(built(tmp_path, output=tmp_path / "mine"))
    assert (tmp_path / "mine" / "letter").exists()
