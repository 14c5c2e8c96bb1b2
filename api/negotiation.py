"""Which representation a client gets, by its `Accept`."""

from __future__ import annotations

from api.problems import NotAcceptable

JSON, CSV, NDJSON = "application/json", "text/csv", "application/x-ndjson"


def negotiate(accept: str | None, offers: tuple[str, ...] = (JSON, CSV)) -> str:
    """The representation that the client likes best; the first one if it does not care.

    Raises:
        NotAcceptable: none of them.
    Source: RFC 9110, 12.5.1.
    """
    if not accept:
        return offers[0]
    best, best_rank = "", (0.0, 0)
    for offered in offers:
        rank = max((_rank(part, offered) for part in accept.split(",")), key=lambda r: r[1], default=(0.0, 0))
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = offered, rank
    if not best:
        raise NotAcceptable(offers)
    return best


def _rank(part: str, offered: str) -> tuple[float, int]:
    """How much a part of `Accept` wants `offered`: its q, and how exactly it names it (0: not at all)."""
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    exactness = {offered: 3, offered.split("/")[0] + "/*": 2, "*/*": 1}.get(media, 0)
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return (min(1.0, float(quality)) if exactness else 0.0), exactness
    except ValueError:
        return 0.0, 0
