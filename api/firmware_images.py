"""Firmware images as sockets download them: in parts, resumable, from memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.byte_ranges import RangeNotSatisfiable, asked_part, is_known
from api.problems import problem
from domain.ports import ImageStore

OCTETS = "application/octet-stream"
# The bytes of an address never change; only who may have them, which is asked every time they are not at hand.
CACHE_CONTROL = "private, max-age=31536000, immutable"
_PIECE_BYTES = 64 * 1024
_MOST_IMAGES = 4


class ImageCache:
    """The images that were asked for last: one of them goes to a whole fleet. Blocking.

    Whoever comes while one is fetched waits for that, so that a fleet that comes at once asks the database once.
    """

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._turn = threading.Lock()

    def find(self, sha256: str) -> bytes | None:
        """The image, None if there is none."""
        with self._turn:
            content = self._held.get(sha256) or self._images.find(sha256)
            if content is not None:
                self._held[sha256] = content
                self._held.move_to_end(sha256)
                if len(self._held) > _MOST_IMAGES:
                    self._held.popitem(last=False)
            return content


def image_answer(request: Request, sha256: str, content: bytes) -> Response:
    """The image or the part that was asked for; 304 if the client has it, 416 if there is no such part."""
    etag = f'"{sha256}"'
    headers = {"ETag": etag, "Cache-Control": CACHE_CONTROL, "Accept-Ranges": "bytes"}
    if is_known(request.headers, etag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(len(content))}, media_type=OCTETS)
    try:
        part = asked_part(request.headers, len(content), etag)
    except RangeNotSatisfiable as error:
        beyond = {"Content-Range": f"bytes */{len(content)}"}
        return problem(request, 416, "range-not-satisfiable", str(error), headers=beyond)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
    sent = part or range(len(content))
    headers["Content-Length"] = str(len(sent))
    return StreamingResponse(_pieces(content, sent), 200 if part is None else 206, headers, OCTETS)


async def _pieces(content: bytes, part: range) -> AsyncIterator[bytes]:
    """In pieces, each once the one before has left: a slow socket holds no copy of the rest."""
    for start in range(part.start, part.stop, _PIECE_BYTES):
        yield content[start : min(start + _PIECE_BYTES, part.stop)]
