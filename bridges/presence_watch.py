"""Which sockets are online now, as they say themselves over MQTT, and with which configuration."""

from __future__ import annotations

from domain.wire import PresenceReport


class PresenceWatch:
    """The sockets that are there; of one that is not, nothing is kept."""

    def __init__(self) -> None:
        self._online: dict[str, int | None] = {}
        self._certain: set[str] = set()

    def __len__(self) -> int:
        return len(self._online)

    def note(self, device_id: str, report: PresenceReport, *, kept: bool = False) -> None:
        """What a socket, or its last will, has said; `kept`: some time ago, and the broker kept it."""
        if report.online:
            self._online[device_id] = report.config
            if not kept:
                self._certain.add(device_id)
        else:
            self._online.pop(device_id, None)
            self._certain.discard(device_id)

    def note_answer(self, device_id: str) -> None:
        """A socket that answers is there."""
        if device_id in self._online:
            self._certain.add(device_id)

    def is_certain(self, device_id: str) -> bool:
        """Whether it has said so itself: a broker that died still has as online what was cut off with it."""
        return device_id in self._certain

    def is_online(self, device_id: str) -> bool:
        return device_id in self._online

    def config_of(self, device_id: str) -> int | None:
        """The version of the configuration that it has; None if it is not there or did not say."""
        return self._online.get(device_id)

    def online(self) -> list[str]:
        """All that are there."""
        return list(self._online)

    def clear(self) -> None:
        """The connection over which we know is gone, so we know nothing."""
        self._online.clear()
        self._certain.clear()
