"""Ends MQTT sessions at NATS that go on under a token which does not count any more.

Source: NATS documentation, "System Account": CONNZ lists connections, KICK ends one. The session's user name is what
the auth callout granted it under.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client

_LIST = "$SYS.REQ.SERVER.PING.CONNZ"
_KICK = "$SYS.REQ.SERVER.{server}.KICK"
_WITHIN_S = 2.0
_AGAIN_AFTER_S = 1.0
_RETRY_AFTER_S = 0.25
_PAGE = 1024
_OVERLAP = 128
_MOST_ONE_BY_ONE = 50

log = structlog.get_logger()


class LiveSessions:
    """The devices' connections.

    Args:
        account: the devices' account.
        name_of: what the session of a device id must be called now; None: it must have none.
        services: client names that are no devices'.
    """

    def __init__(self, account: str, name_of: Callable[[str], str | None], services: frozenset[str]) -> None:
        self._account, self._name_of, self._services = account, name_of, services
        self._suspects: dict[str, int] = {}
        self._all = True
        self._woken = asyncio.Event()

    def suspect(self, device_ids: set[str]) -> None:
        """Look at these now, and once more: a request to connect may have been on its way."""
        self._suspects.update(dict.fromkeys(device_ids, 2))
        self._woken.set()

    async def suspect_all(self) -> None:
        """Look at every session: something may have been missed."""
        self._all = True
        self._woken.set()

    async def run(self, client: Client) -> None:
        """End stale sessions until cancelled; `client` is in the system account."""
        while True:
            try:
                await self._sweep(client)
            except (nats.errors.Error, TimeoutError, ValueError, KeyError) as error:
                log.warning("sessions not looked at", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_AFTER_S)
                continue
            pause_s = _AGAIN_AFTER_S if self._suspects else None
            try:
                await asyncio.wait_for(self._woken.wait(), pause_s)
            except TimeoutError:
                continue

    async def _sweep(self, client: Client) -> None:
        # Who is suspected from here on is looked at by the next sweep, whatever becomes of this one.
        self._woken.clear()
        looked_at, self._suspects = self._suspects, {}
        everyone, self._all = self._all, False
        chosen: list[dict[str, Any]] = [{"mqtt_client": device_id} for device_id in looked_at]
        try:
            for which in [{}] if everyone or len(chosen) > _MOST_ONE_BY_ONE else chosen:
                await self._end_stale(client, which)
        except BaseException:
            self._all, self._suspects = True, looked_at | self._suspects
            raise
        self._suspects = {device_id: looks - 1 for device_id, looks in looked_at.items() if looks > 1} | self._suspects

    async def _end_stale(self, client: Client, chosen: dict[str, Any]) -> None:
        # All of them first: each that is ended moves those behind it up, past the next page's beginning.
        for server, connection in [one async for one in self._connections(client, chosen)]:
            device_id, name = connection.get("mqtt_client", ""), connection.get("authorized_user", "")
            if not device_id or name in self._services or name == self._name_of(device_id):
                continue
            answer = await _ask(client, _KICK.format(server=server), {"cid": connection["cid"]})
            log.info("session ended", device_id=device_id, error=answer.get("error"))

    async def _connections(self, client: Client, chosen: dict[str, Any]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        offset = 0
        while True:
            wanted = {"auth": True, "acc": self._account, "offset": offset, "limit": _PAGE, **chosen}
            answer = await _ask(client, _LIST, wanted)
            page = answer["data"]["connections"]
            for connection in page:
                yield answer["server"]["id"], connection
            if len(page) < _PAGE:
                return
            # Others leave meanwhile, too.
            offset += _PAGE - _OVERLAP


async def _ask(client: Client, subject: str, question: dict[str, Any]) -> dict[str, Any]:
    message = await client.request(subject, json.dumps(question).encode(), timeout=_WITHIN_S)
    answer: dict[str, Any] = json.loads(message.data)
    return answer
