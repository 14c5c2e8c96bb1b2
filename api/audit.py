"""Audit records with what is personal opened, as far as it was not forgotten."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api.people import People
from api.time_ranges import format_instant
from domain.lifecycle.access import Access
from domain.lifecycle.cause import user_behind
from domain.lifecycle.personal import Personal, tenant_subject, user_subject

COLUMNS = (
    "at",
    "actor",
    "who",
    "origin",
    "action",
    "subject",
    "device_id",
    "tenant_id",
    "denied",
    "reason",
    "correlation_id",
    "before",
    "after",
)


class AuditReader:
    """Opens what is sealed. Blocking: it asks the key store."""

    def __init__(self, access: Access, personal: Personal) -> None:
        self._access, self._personal, self._people = access, personal, People(personal)

    def document(self, row: Any) -> dict[str, Any]:
        """The record of a row."""
        user_id = user_behind(row.actor)
        return {
            "id": f"{row.originator_id}:{row.version}",
            "at": format_instant(row.at_ms),
            "actor": row.actor,
            "who": None if user_id is None else self._people.name_of(self._access.users.get(user_id)),
            "origin": self._personal.open_origin(row.actor, row.origin),
            "correlation_id": row.correlation_id,
            "action": row.action,
            "subject": f"{row.subject_kind}:{row.subject_id}" if row.subject_kind else row.subject_id,
            "device_id": row.device_id,
            "tenant_id": row.tenant_id,
            "denied": bool(row.denied),
            "reason": row.reason,
            "before": self._opened(row, row.before_json),
            "after": self._opened(row, row.after_json),
        }

    def _opened(self, row: Any, members_json: str) -> dict[str, Any]:
        members: dict[str, Any] = msgspec.json.decode(members_json)
        return self._personal.open_members(row.subject_kind, self._subject_of(row), members)

    def _subject_of(self, row: Any) -> str | None:
        """Whose key the texts of this record were sealed with."""
        match row.subject_kind:
            case "user":
                return user_subject(row.subject_id)
            case "tenant":
                return tenant_subject(row.subject_id)
            case "device" if row.subject_id in self._access.devices:
                return tenant_subject(self._access.devices[row.subject_id].tenant_id)
        return None


def csv_lines(documents: Iterable[Mapping[str, Any]], *, header: bool) -> str:
    """The records as CSV; a cell that a spreadsheet would take for a formula is quoted by an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(COLUMNS)
    writer.writerows([_cell(document[name]) for name in COLUMNS] for document in documents)
    return text.getvalue()


def ndjson_lines(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """The records as one JSON document a line."""
    return b"".join(msgspec.json.encode(document) + b"\n" for document in documents)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    # Source: OWASP, "CSV Injection": names are chosen by people, and the file is opened by an admin.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
