"""`wattaway status` for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.status import Status


def status_table(status: Status) -> RenderableType:
    """For people."""
    checks = Table("", "answers", "")
    for check in status.checks:
        checks.add_row(check.name, Text("yes", "green") if check.answers else Text("no", "bold red"), check.detail)
    topics = Table("topic", "partitions", "records", "projected", "lag")
    for topic in status.topics:
        counts = (topic.partitions, topic.records, topic.projected, topic.lag)
        topics.add_row(topic.name, *(f"{count:,}" for count in counts))
    summary = "   ".join(f"{name}: {count:,}" for name, count in status.counts.items())
    return Group(checks, topics, Text(summary))


def status_json(status: Status) -> str:
    """For programs."""
    return json.dumps(
        {
            "servers_answer": status.servers_answer,
            "checks": [asdict(check) for check in status.checks],
            "topics": [{**asdict(topic), "lag": topic.lag} for topic in status.topics],
            "counts": status.counts,
        }
    )
