"""The figures of a running WattAway, read from the metrics of its roles: rates, lag, latency, dead letters."""

from __future__ import annotations

import math
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from ops.settings import Settings

_WITHIN_S = 1.0
_LATENCY = "wattaway_projector_visible_latency_seconds"

Samples = Mapping[str, Mapping[str, float]]
"""Sample name → value per label set; the label is `le` of a bucket, else the labels' values joined."""


@dataclass(frozen=True)
class Figures:
    """What a role says of itself; None where nobody answers."""

    at_s: float
    received: float | None = None
    projected: float | None = None
    lag: float | None = None
    devices_seen: float | None = None
    dead_letters: float | None = None
    latency_buckets: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rates:
    """What happened between two looks, per second; None where it cannot be told."""

    received_per_s: float | None
    projected_per_s: float | None
    p50_s: float | None
    p99_s: float | None


def read_figures(settings: Settings) -> Figures:
    """Ask both roles; blocking, at most two seconds or so."""
    bridge = scrape(settings.metrics_url("bridge"))
    projector = scrape(settings.metrics_url("projector"))
    buckets = projector.get(f"{_LATENCY}_bucket", {})
    return Figures(
        at_s=time.monotonic(),
        received=_total(bridge, "wattaway_bridge_readings_total"),
        projected=_total(projector, "wattaway_projector_readings_total"),
        lag=_total(projector, "wattaway_projector_lag_records"),
        devices_seen=_total(bridge, "wattaway_bridge_devices_seen"),
        # A counter with labels says nothing before its first one.
        dead_letters=_total(bridge, "wattaway_bridge_dead_letters_total") or (0.0 if bridge else None),
        latency_buckets={float(edge): count for edge, count in buckets.items()},
    )


def rates(before: Figures, now: Figures) -> Rates:
    """What changed between two looks."""
    seconds = now.at_s - before.at_s
    fresh = {edge: count - before.latency_buckets.get(edge, 0.0) for edge, count in sorted(now.latency_buckets.items())}
    return Rates(
        _per_second(before.received, now.received, seconds),
        _per_second(before.projected, now.projected, seconds),
        quantile(fresh, 0.5),
        quantile(fresh, 0.99),
    )


def quantile(cumulative: Mapping[float, float], fraction: float) -> float | None:
    """The upper edge of the bucket that holds this fraction of a histogram; None if it is empty."""
    edges = sorted(cumulative)
    if not edges or cumulative[edges[-1]] <= 0:
        return None
    wanted = fraction * cumulative[edges[-1]]
    found = next(edge for edge in edges if cumulative[edge] >= wanted)
    return found if math.isfinite(found) else edges[-2] if len(edges) > 1 else None


def scrape(url: str) -> Samples:
    """All samples of one role's metrics; empty if it has none or does not answer."""
    if not url:
        return {}
    try:
        with urllib.request.urlopen(url, timeout=_WITHIN_S) as answer:  # noqa: S310 - of our own settings
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (OSError, HTTPException, ValueError):  # URLError is an OSError
        return {}
    samples: dict[str, dict[str, float]] = {}
    for family in families:
        for sample in family.samples:
            label = sample.labels.get("le") or ",".join(sample.labels.values())
            samples.setdefault(sample.name, {})[label] = sample.value
    return samples


def _total(samples: Samples, name: str) -> float | None:
    return sum(samples[name].values()) if name in samples else None


def _per_second(before: float | None, now: float | None, seconds: float) -> float | None:
    if before is None or now is None or seconds <= 0:
        return None
    # A restarted role counts from zero again.
    return max(now - before, 0.0) / seconds if now >= before else now / seconds
