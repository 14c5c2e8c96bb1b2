"""Which sockets are online now, as they say themselves over MQTT, and with which configuration."""

from __future__ import annotations

from domain.wire import PresenceReport


class PresenceWatch:
    """The sockets that are there; of one that is not, nothing is kept."""

    def __init__(self) -> None:
        self._online: dict[str, int | None] = {}

    def __len__(self) -> int:
        return len(self._online)

    def note(self, device_id: str, report: PresenceReport) -> None:
        """What a socket, or its last will, has said."""
        if report.online:
            self._online[device_id] = report.config
        else:
            self._online.pop(device_id, None)

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
