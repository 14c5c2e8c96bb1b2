"""From a build into the flash and back: written by esptool to an emulated boot loader of the chip, read, and started.

The boot loader is that of `esp32-mock-bootloader`: the protocol is real, the chip is not, and MicroPython's own part of
the build is a stand-in. What starts in the end is MicroPython's unix port, on the files that were read back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from esp32_mock_bootloader import mock_bootloader
from typer.testing import CliRunner, Result

from domain.errors import SettingInvalid
from ops.cli import app
from ops.firmware import esptool
from ops.firmware.building import build
from ops.firmware.esptool import FlashingFailed
from ops.firmware.files import Release
from ops.firmware.improv_line import ImprovLine
from ops.firmware.partitions import partition
from ops.firmware.serial_ports import open_port
from tests.firmware.flashed_board import FlashedBoard
from tests.firmware.micropython_bin import micropython_bin
from tests.firmware.signed_images import key, modulus

BOARD = "uart-cse7766"
TABLE_AT, TABLE_BYTES = 0x8000, 0xC00

# The emulator leaves the pipes of its process to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of release 1.5.0."""
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "modulus").write_bytes(modulus())
    micropython = micropython_bin(folder / "micropython.bin")
    build(BOARD, micropython, folder / "modulus", Release("1.5.0", 5), folder / "build")
    return folder / "build"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's files are the test's own, and esptool waits longer for an answer on a busy machine."""
    monkeypatch.setenv("ESP32_MOCK_BOOTLOADER_STATE_DIR", str(tmp_path / "emulators"))
    (tmp_path / "esptool.cfg").write_text("[esptool]\ntimeout = 60\nmem_end_rom_timeout = 20\n")
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(tmp_path / "esptool.cfg"))


def read_back(port: str, at: int, size: int, path: Path) -> bytes:
    """What stands in the flash, by the chip's own command: the emulator loses packets of the faster program's."""
    line = [sys.executable, "-m", "esptool", "--chip", "esp32", "--port", port, "--no-stub", "read-flash"]
    subprocess.run([*line, hex(at), hex(size), str(path)], check=True, capture_output=True, timeout=120)
    return path.read_bytes()


def firmware(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["firmware", *map(str, words)])


def told_by(port: str) -> list[str]:
    """What the firmware on this port says it is."""
    with open_port(port, 115_200) as line:
        socket = ImprovLine(line)
        socket.state()
        return socket.info()


@pytest.mark.timeout(400)
def test_what_was_built_is_written_verified_read_back_and_starts(built: Path, tmp_path: Path) -> None:
    with mock_bootloader(chip="esp32") as chip:
        port = chip.url()
        written = firmware("flash", built, "--port", port)
        assert written.exit_code == 0, written.output
        assert "100.0%" in written.output, "the progress is shown"
        assert firmware("verify", built, "--port", port).exit_code == 0
        table = read_back(port, TABLE_AT, TABLE_BYTES, tmp_path / "table")
        vfs = partition("vfs")
        # What is blank behind the files was verified, too, and reading is slow.
        used = len((built / "littlefs.bin").read_bytes().rstrip(b"\xff"))
        files = read_back(port, vfs.at, -(-used // 4096) * 4096, tmp_path / "files")
        whole = (built / "firmware.bin").read_bytes()
        assert (table, files) == (whole[TABLE_AT:][:TABLE_BYTES], whole[vfs.at :][: len(files)])

        other = tmp_path / "other"
        other.mkdir()
        (other / "littlefs.bin").write_bytes(files[:-1] + b"\0")
        (other / "build.json").write_text(json.dumps({"parts": {"littlefs.bin": vfs.at}}))
        differs = firmware("verify", other, "--port", port)
        assert isinstance(differs.exception, FlashingFailed)
        assert str(differs.exception) == "the flash holds something else than this build"

    (tmp_path / "board").mkdir()
    board = FlashedBoard(tmp_path / "board", table, files)
    with board.plugged_in() as port:
        assert told_by(port) == ["WattAway", "1.5.0", "ESP32", BOARD]
    assert (board.folder / "slots.bin").read_bytes() != b"\xff" * partition("slots").size, "it came by boot.py"


def test_a_newer_build_that_was_signed_starts_from_its_partition(built: Path, tmp_path: Path) -> None:
    board = FlashedBoard(tmp_path, (built / "partitions.bin").read_bytes(), (built / "littlefs.bin").read_bytes())
    newer, update, private = tmp_path / "newer", tmp_path / "update.wafw", tmp_path / "key.pem"
    build(BOARD, built.parent / "micropython.bin", built.parent / "modulus", Release("1.9.0", 9), newer)
    private.write_bytes(key(0).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert firmware("sign", newer, "--key", private, "-o", update).exit_code == 0
    board.put("app_a", update.read_bytes())
    board.stage(1, 9)
    with board.plugged_in() as port:
        assert told_by(port) == ["WattAway", "1.9.0", "ESP32", BOARD]


def test_another_chip_is_not_written(built: Path) -> None:
    with mock_bootloader(chip="esp32c3") as chip:
        port = chip.url()
        ran = firmware("flash", built, "--port", port)
    assert isinstance(ran.exception, FlashingFailed)
    assert str(ran.exception) == f"the chip at {port} is no ESP32"


def test_a_port_that_is_not_there_and_one_where_nobody_answers_are_told_in_a_line(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = firmware("flash", built, "--port", "/dev/ttyNone7")
    assert isinstance(ran.exception, FlashingFailed)
    assert str(ran.exception) == "/dev/ttyNone7 cannot be opened: is the cable in, and is no other program using it?"
    assert esptool._cause("could not open port /dev/x: [Errno 13] Permission denied: '/dev/x'", "/dev/x") == (
        "no permission to use /dev/x: join the group that owns it (often dialout), and sign in again"
    )
    monkeypatch.setattr(esptool, "find_spec", lambda _: None)
    assert "this needs esptool: pip install" in str(firmware("flash", built, "--port", "/dev/ttyNone7").exception)


def test_without_a_build_or_a_port_nothing_is_run(tmp_path: Path) -> None:
    for command in ("flash", "verify"):
        ran = firmware(command, tmp_path, "--port", "/dev/ttyNone7")
        assert isinstance(ran.exception, SettingInvalid)
        assert "wattaway firmware build" in str(ran.exception)
