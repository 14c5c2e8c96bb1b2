"""The folder that `wattaway firmware build` leaves: the files of an image, and what is to stand in its head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from domain.errors import ImageRejected, SettingInvalid
from domain.firmware_image import ImageHead
from domain.lifecycle.firmware import MOST_COUNTER, version_order

FILES, HEAD = "app", "build.json"


class Build(NamedTuple):
    """What is to be signed."""

    head: ImageHead
    files: dict[str, bytes]


class _Head(msgspec.Struct):
    board: str
    version: str
    counter: Annotated[int, Meta(ge=1, le=MOST_COUNTER)]


def read_build(folder: Path) -> Build:
    """What was built.

    Raises:
        SettingInvalid: something is missing or does not fit; says what.
    """
    head = _read_head(folder / HEAD)
    app = folder / FILES
    if not app.is_dir():
        raise SettingInvalid(f"{folder}: there is no folder {FILES}/; build it with `wattaway firmware build`")
    files: dict[str, bytes] = {}
    for path in sorted(app.iterdir()):
        if not path.is_file():
            raise SettingInvalid(f"{path}: an image holds files only, no folders")
        files[path.name] = path.read_bytes()
    for needed in (("main.py",), ("release.mpy", "release.py")):
        if not any(name in files for name in needed):
            raise SettingInvalid(f"{app}: there is no {' or '.join(needed)}")
    return Build(head, files)


def _read_head(path: Path) -> ImageHead:
    try:
        said = msgspec.json.decode(path.read_bytes(), type=_Head)
        version_order(said.version)
    except OSError as error:
        raise SettingInvalid(f"{path}: {error.strerror}; build it with `wattaway firmware build`") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path}: {error}") from error
    except ImageRejected as error:
        raise SettingInvalid(f"{path}: {error.detail}") from error
    return ImageHead(said.board, said.version, said.counter)
