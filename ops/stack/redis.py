"""Redis 7 as a child process: memory only, because its contents can always be made anew from the read models."""

from __future__ import annotations

from pathlib import Path

import redis

from ops.child import ChildSpec
from ops.credentials import stored_secret
from ops.embedded.ports import LOOPBACK
from ops.stack.packages import find_program
from ops.stack.private_files import write_private

_READY_TIMEOUT_S = 20


class RedisServer:
    """One Redis on loopback, with a generated password."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = directory, port
        self.spec = ChildSpec(
            name="redis",
            argv=[find_program("redis-server"), str(directory / "redis.conf")],
            log_path=directory / "redis.log",
            is_ready=self._answers,
            prepare=self._prepare,
            ready_within_s=_READY_TIMEOUT_S,
        )

    @property
    def url(self) -> str:
        """Where it answers, password included: a secret."""
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"

    @property
    def _password(self) -> str:
        return stored_secret(self._directory / "redis.secret")

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        # No snapshot: one from before a crash would come back as if it were complete and newest.
        write_private(
            self._directory / "redis.conf",
            f"bind {LOOPBACK}\nport {self._port}\nrequirepass {self._password}\n"
            f'dir "{self._directory}"\n'
            'save ""\nappendonly no\nmaxmemory-policy noeviction\ndaemonize no\n',
        )

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
