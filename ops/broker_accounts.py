"""Keeps Mosquitto's account files equal to what is registered, and tells it when they have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from ops.broker_access import BrokerAccess
from ops.service_users import ServiceUser
from ops.stack.mosquitto_accounts import MosquittoAccounts
from ops.stack.mosquitto_signal import reload_accounts

# Reading them stops Mosquitto for 0.13 s at 10,000 devices: not more often than this.
_LEAST_BETWEEN_S = 0.5
_RETRY_AFTER_S = 0.1

log = structlog.get_logger()


class BrokerAccounts:
    """The files of one Mosquitto.

    Args:
        pid_file: where it writes its process id.
        address: where it listens.
        services: our own roles that it shall let in; others that are in the files already stay.
    """

    def __init__(
        self, accounts: MosquittoAccounts, pid_file: Path, address: tuple[str, int], services: Iterable[ServiceUser]
    ) -> None:
        self._accounts, self._pid_file, self._address = accounts, pid_file, address
        self._services = list(services)
        self._changed = asyncio.Event()
        # Whoever wrote the files before may have died before it told the broker.
        self._told = False

    def changed(self, _device_ids: set[str]) -> None:
        """Somebody's token counts anew, or no more."""
        self._changed.set()

    async def keep(self, access: BrokerAccess) -> None:
        """Write what there is to write until cancelled."""
        while True:
            self._changed.clear()
            await self.write(access)
            await asyncio.sleep(_LEAST_BETWEEN_S)
            await self._changed.wait()

    async def write(self, access: BrokerAccess) -> None:
        """Make the files equal to what is registered now; have them read if that changed them, and the first time.

        The files stay as they are while they cannot be written.
        """
        while True:
            try:
                is_new = await asyncio.to_thread(self._write, access.broker_hashes())
                break
            except OSError as error:
                log.error("accounts not written", error=str(error))
                await asyncio.sleep(_LEAST_BETWEEN_S)
        self._told = self._told and not is_new
        if not self._told:
            await self._have_them_read()
            self._told = True
            log.info("accounts written", devices=len(access.broker_hashes()))

    async def _have_them_read(self) -> None:
        # Mosquitto says nothing when it begins to listen.
        while not await asyncio.to_thread(reload_accounts, self._pid_file, self._address):  # noqa: ASYNC110
            await asyncio.sleep(_RETRY_AFTER_S)

    def _write(self, hashes: dict[str, str]) -> bool:
        services_changed = self._accounts.admit_services(self._services)
        return self._accounts.keep_devices(hashes) or services_changed
