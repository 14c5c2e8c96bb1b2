"""Logging: a constant event name and fields; JSON lines in production, readable in a terminal. To standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

LogFormat = Literal["auto", "console", "json"]


def configure_logging(log_format: LogFormat, level: str, role: str, to: TextIO = sys.stderr) -> None:
    """Send our events and those of libraries through one pipeline; `role` is in every line."""
    as_json = log_format == "json" or (log_format == "auto" and not to.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info if as_json else _keep_exception,
    ]
    renderer: Processor = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(to)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.contextvars.bind_contextvars(role=role)
    _quieten_libraries()


def _keep_exception(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


def _quieten_libraries() -> None:
    # At INFO these tell of every rebalance, request and heartbeat.
    for name in ("aiokafka", "faust", "mode", "gmqtt", "alembic", "uvicorn.access", "nats", "jgo"):
        logging.getLogger(name).setLevel(logging.WARNING)
