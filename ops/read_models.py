"""What is done with the read models as a whole: fold them (the role), fold them anew, compare them with the log."""

from __future__ import annotations

from collections.abc import Callable

import uvloop

from bridges.kafka_topics import ensure_topics
from ops.settings import Settings
from ops.wiring import kafka_server, spare_the_collector, stop_on_signals
from projections.app import run_projector
from projections.log_consumer import LogSource
from projections.options import ProjectorOptions
from projections.rebuild import rebuild
from projections.verify import Verification, verify

# Two batches of a rebuild, on their way and being read, are 150,000 objects.
_OBJECTS_PER_COLLECTION_IN_BULK = 1_000_000


async def serve_projector_role(settings: Settings, on_step: Callable[[str], None]) -> None:
    """Fold the log into the read models until SIGTERM."""
    source, options = _projection(settings)
    spare_the_collector()
    # Whichever role comes first makes the topics.
    await ensure_topics(settings.kafka_bootstrap, source.topics, kafka_server(settings).needs)
    await run_projector(source, options, stop=stop_on_signals(), on_step=on_step)


def rebuild_read_models(settings: Settings, on_progress: Callable[[int, int], None]) -> str:
    """Replace the read models by what the log gives; what was done, in one line.

    Args:
        on_progress: told the records done and to do, now and then.
    """
    source, options = _projection(settings)
    spare_the_collector(_OBJECTS_PER_COLLECTION_IN_BULK)
    return str(uvloop.run(rebuild(source, options, on_progress=on_progress)))


def verify_read_models(settings: Settings) -> Verification:
    """Compare the log with the read models."""
    spare_the_collector(_OBJECTS_PER_COLLECTION_IN_BULK)
    return uvloop.run(verify(*_projection(settings)))


def _projection(settings: Settings) -> tuple[LogSource, ProjectorOptions]:
    options = ProjectorOptions(
        settings.resolved_database_url(),
        settings.resolved_redis_url(),
        settings.redis_prefix,
        settings.time_zone,
        settings.projector_metrics_port,
        settings.metrics_host,
    )
    return LogSource(settings.kafka_bootstrap, settings.kafka_topic_prefix, settings.projector_instance), options
