"""Device ids: safe in an MQTT topic, a NATS subject, a URL and a file name alike."""

from __future__ import annotations

import re

from domain.errors import InvalidDeviceId

DEVICE_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
_matches = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


def parse_device_id(text: str) -> str:
    """Return `text` if it is a device id.

    Raises:
        InvalidDeviceId: anything but 1 to 64 of `A-Z a-z 0-9 _ -`. NATS forbids `.`, space, `*` and `>`
            in a subject token, MQTT forbids `/`, `+` and `#` in a topic level.
    """
    if _matches(text) is None:
        raise InvalidDeviceId(text)
    return text
