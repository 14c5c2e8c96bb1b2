"""The ids that Kafka gave its topics: a topic deleted and made anew under its old name has another one.

aiokafka speaks the Metadata request up to version 5; ids come with version 10. So here is version 12.
Source: https://kafka.apache.org/protocol#The_Messages_Metadata
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from domain.errors import DependencyUnavailable
from projections.undisturbed import undisturbed

_UNKNOWN_TOPIC = 3


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_BROKER = (
    ("node_id", Int32),
    ("host", CompactString("utf-8")),
    ("port", Int32),
    ("rack", CompactString("utf-8")),
    ("tags", TaggedFields),
)
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = (
    ("error_code", Int16),
    ("topic", CompactString("utf-8")),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics: list[tuple[bytes, str, dict[int, bytes]]] = [(bytes(16), topic, {}) for topic in topics]

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(self._topics, False, False, {})


class Topic(NamedTuple):
    """What Kafka says of a topic."""

    topic_id: str
    partitions: tuple[int, ...]


async def describe_topics(bootstrap: str, topics: Sequence[str], *, timeout_s: float = 10) -> dict[str, Topic]:
    """Id and partitions of these topics.

    Raises:
        DependencyUnavailable: Kafka does not answer in time, is older than 3.1, or has no such topic (yet).
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000))
    try:
        async with asyncio.timeout(timeout_s):
            # Broken off, it would leave its connection open.
            await undisturbed(client.bootstrap())
            response = await client.send(client.get_random_node(), _MetadataRequest(topics))
    except KafkaConnectionError as error:
        raise DependencyUnavailable("kafka", f"none of {bootstrap} answers") from error
    except (TimeoutError, KafkaError, OSError, NotImplementedError) as error:
        raise DependencyUnavailable("kafka", f"{bootstrap}: {error or type(error).__name__}") from error
    finally:
        # It would swallow a cancellation, and whoever was to end would go on.
        await undisturbed(client.close())
    return {topic: _topic(topic, found) for found in response.topics for topic in [found[1]]}


def _topic(name: str, found: Sequence[Any]) -> Topic:
    if found[0] != 0:
        reason = "does not exist" if found[0] == _UNKNOWN_TOPIC else f"has error {found[0]}"
        raise DependencyUnavailable("kafka", f"the topic {name} {reason}")
    return Topic(str(uuid.UUID(bytes=found[2])), tuple(sorted(partition[1] for partition in found[4])))
