"""Who shows a wrong password too often waits, twice as long each time: per account and address.

An attempt counts as failed before the password is checked and is forgiven when it was right, so a hundred attempts at
once are no better than one after the other.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.problems import TooMany
from domain.clock import Clock

FREE_ATTEMPTS = 5
FIRST_WAIT_S = 2
LONGEST_WAIT_S = 900
REMEMBERED_S = 86_400
_MOST_IN_MEMORY = 10_000
_REST_AFTER_FAILURE_S = 1.0

_COUNT = """
local failures = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
local until_ms = tonumber(redis.call('HGET', KEYS[1], 'u') or 0)
local now_ms = tonumber(ARGV[1])
if now_ms < until_ms then return until_ms - now_ms end
failures = failures + 1
if failures >= tonumber(ARGV[2]) then
  until_ms = now_ms + math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) * 2 ^ (failures - tonumber(ARGV[2])))
end
redis.call('HSET', KEYS[1], 'n', failures, 'u', string.format('%.0f', until_ms))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 0
"""


class Lockout:
    """Counts wrong passwords; in memory while Redis is away."""

    def __init__(self, redis: Redis, prefix: str, clock: Clock) -> None:
        self._redis, self._prefix, self._clock = redis, f"{prefix}lockout:", clock
        self._count = redis.register_script(_COUNT)
        self._alone: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._alone_until = 0.0

    async def begin(self, account: str, address: str) -> None:
        """Count an attempt as failed.

        Args:
            account: what the account is known by, whether it exists or not.
        Raises:
            TooMany: there were too many; wait.
        """
        key, now_ms = self._key(account, address), self._clock.now_ms()
        wait_ms = await self._begin(key, now_ms)
        if wait_ms > 0:
            wait_s = -(-wait_ms // 1000)
            standing = {"ratelimit": f'"locked-out";r=0;t={wait_s}'}
            raise TooMany("locked-out", f"too many wrong passwords; wait {wait_s} s", wait_s, standing)

    async def succeed(self, account: str, address: str) -> None:
        """It was right: forget all failures."""
        key = self._key(account, address)
        self._alone.pop(key, None)
        try:
            await self._redis.delete(key)
        except (RedisError, OSError, TimeoutError):
            self._alone_until = time.monotonic() + _REST_AFTER_FAILURE_S

    async def _begin(self, key: str, now_ms: int) -> int:
        if time.monotonic() >= self._alone_until:
            arguments = (now_ms, FREE_ATTEMPTS, FIRST_WAIT_S * 1000, LONGEST_WAIT_S * 1000, REMEMBERED_S)
            try:
                return int(await self._count(keys=[key], args=arguments))
            except (RedisError, OSError, TimeoutError):
                self._alone_until = time.monotonic() + _REST_AFTER_FAILURE_S
        return self._begin_alone(key, now_ms)

    def _begin_alone(self, key: str, now_ms: int) -> int:
        failures, until_ms = self._alone.pop(key, (0, 0.0))
        wait_ms = until_ms - now_ms
        if wait_ms <= 0:
            failures += 1
            if failures >= FREE_ATTEMPTS:
                waits_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - FREE_ATTEMPTS, 20))
                until_ms = now_ms + waits_s * 1000
        self._alone[key] = (failures, until_ms)
        if len(self._alone) > _MOST_IN_MEMORY:
            self._alone.popitem(last=False)
        return max(0, int(wait_ms))

    def _key(self, account: str, address: str) -> str:
        # Hashed, so that whoever is forgotten meanwhile leaves no address here that belongs to an account.
        return self._prefix + sha256(f"{account}:{address}".encode()).hexdigest()
