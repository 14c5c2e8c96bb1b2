"""Builds a firmware for a board: the files of an update image, and the one file that is flashed.

A build's folder holds `app/` and `build.json`, which an update image is made of, and `firmware.bin` with the parts that
it is merged from. Those that stay as they are once the board has started stand in `build.json`, with their addresses.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from domain.errors import ImageRejected, SettingInvalid
from domain.lifecycle.firmware import MOST_COUNTER, version_order
from firmware_mpy.board import BadBoard, read_board
from firmware_mpy.firmware_image import ENTRY_SIZE, FILES_MAX, SIGNED_SIZE
from firmware_mpy.rsa_verify import SIGNATURE_SIZE
from ops.firmware.esptool import merge
from ops.firmware.files import Release, application_files, file_system, flashed_files
from ops.firmware.fleet import FIRMWARE
from ops.firmware.micropython_build import MicroPythonBuild, read_micropython
from ops.firmware.partitions import BOOTLOADER_AT, TABLE_AT, partition, table_bytes

IMAGE_FILE, BUILD_FILE = "firmware.bin", "build.json"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_BOARD_MAX = 32
_EXPONENT = 65537


@dataclass(frozen=True)
class FirmwareBuild:
    """What was built.

    Args:
        board: the board's name.
        application_bytes: how long an update image of it is.
        image: the file that is flashed.
    """

    board: str
    release: Release
    micropython: str
    application_bytes: int
    image: Path


def build(board: str, micropython: Path, update_key: Path, release: Release, folder: Path) -> FirmwareBuild:
    """Build into `folder`; what stands there of a build before is replaced.

    Args:
        board: file, or name of one in `firmware_mpy/boards`.
        micropython: a build of MicroPython for the ESP32.
        update_key: public key in PEM, or its modulus (384 bytes).

    Raises:
        SettingInvalid: one of them does not fit; says which and why.
    """
    name, description = _board(board)
    _check_release(release)
    modulus, interpreter = read_update_key(update_key), read_micropython(micropython)
    application = application_files(release)
    size = _image_bytes(application)
    files = file_system(flashed_files(application, description, modulus))
    _fresh(folder)
    (folder / "app").mkdir()
    for file, content in application.items():
        (folder / "app" / file).write_bytes(content)
    parts = _merge(folder, interpreter, files)
    told = {"board": name, "version": release.version, "counter": release.counter}
    more = {"micropython": interpreter.version, "files": sorted(application), "parts": parts}
    (folder / BUILD_FILE).write_text(json.dumps({**told, **more}, indent=1) + "\n", encoding="utf-8")
    return FirmwareBuild(name, release, interpreter.version, size, folder / IMAGE_FILE)


def read_update_key(path: Path) -> bytes:
    """The modulus of the key that updates are signed with, as a socket keeps it.

    Raises:
        SettingInvalid: no RSA key of 3072 bits with the exponent 65537.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingInvalid(f"--update-key: {path} cannot be read: {error.strerror}") from error
    if len(content) == SIGNATURE_SIZE and content[0] & 0x80:
        return content
    try:
        key = load_pem_public_key(content)
    except ValueError as error:
        raise SettingInvalid(f"--update-key: {path} is neither a public key in PEM nor a modulus") from error
    if not isinstance(key, RSAPublicKey) or key.key_size != 8 * SIGNATURE_SIZE:
        raise SettingInvalid(f"--update-key: {path} is no RSA key of {8 * SIGNATURE_SIZE} bits")
    numbers = key.public_numbers()
    if numbers.e != _EXPONENT:
        raise SettingInvalid(f"--update-key: the exponent is {numbers.e}, not {_EXPONENT}")
    return numbers.n.to_bytes(SIGNATURE_SIZE, "big")


def _board(named: str) -> tuple[str, bytes]:
    """The board's name and its description, checked as the firmware does."""
    known = FIRMWARE / "boards" / f"{named}.json"
    path = known if _NAME.fullmatch(named) and known.exists() else Path(named)
    try:
        content = path.read_bytes()
        name = str(read_board(content.decode())["name"])
    except (OSError, UnicodeError) as error:
        names = ", ".join(sorted(one.stem for one in known.parent.glob("*.json")))
        raise SettingInvalid(f"--board: {named} is no file that can be read, and none of {names}") from error
    except BadBoard as error:
        raise SettingInvalid(f"--board: {path.name}: {error}") from error
    if not _NAME.fullmatch(name) or len(name) > _BOARD_MAX:
        raise SettingInvalid(f"--board: {path.name}: name: letters, digits, '.', '_' and '-' only")
    return name, content


def _check_release(release: Release) -> None:
    try:
        version_order(release.version)
    except ImageRejected as error:
        raise SettingInvalid(f"--version: {error.detail}") from error
    if not 0 < release.counter <= MOST_COUNTER:
        raise SettingInvalid(f"--counter: 1 to {MOST_COUNTER}")


def _image_bytes(application: Mapping[str, bytes]) -> int:
    """How long an update image of these files is."""
    size = SIGNED_SIZE + sum(ENTRY_SIZE + len(content) for content in application.values())
    if size > partition("app_a").size or len(application) > FILES_MAX:
        raise SettingInvalid(f"an update of {size} bytes does not fit into {partition('app_a').size}")
    return size


def _fresh(folder: Path) -> None:
    """Make the folder, without what a build before has left there."""
    if folder.exists() and any(folder.iterdir()) and not (folder / BUILD_FILE).exists():
        raise SettingInvalid(f"{folder} holds something else than a build: name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _merge(folder: Path, interpreter: MicroPythonBuild, files: bytes) -> dict[str, int]:
    """Write the parts that are flashed, and all of them in one; where each of them begins."""
    parts = {
        "bootloader.bin": (BOOTLOADER_AT, interpreter.bootloader),
        "partitions.bin": (TABLE_AT, table_bytes()),
        "micropython.bin": (partition("factory").at, interpreter.application),
        "littlefs.bin": (partition("vfs").at, files),
    }
    for name, (_, content) in parts.items():
        (folder / name).write_bytes(content)
    # Without an update in them, what is flashed starts.
    blank = folder / "slots.bin"
    blank.write_bytes(b"\xff" * partition("slots").size)
    places = {name: at for name, (at, _) in parts.items()}
    merged = [(at, folder / name) for name, at in places.items()]
    merge([*merged, (partition("slots").at, blank)], folder / IMAGE_FILE)
    blank.unlink()
    return places
