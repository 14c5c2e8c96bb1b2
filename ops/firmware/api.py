"""The API as the firmware commands ask it: with an admin's token, which goes into one header field and nowhere else."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from domain.errors import DependencyUnavailable, SettingInvalid, WattAwayError
from ops.embedded.ports import is_loopback

TOKEN_VARIABLE = "WATTAWAY_TOKEN"  # noqa: S105 - a name
_TIMEOUT_S = 60
_is_token = re.compile(r"[\x21-\x7e]+").fullmatch

ApiUrl = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="The API; this machine's unless said.", show_default=False),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"Its first line is an admin's API token; else {TOKEN_VARIABLE} holds it."),
]


class ApiRefused(WattAwayError):
    """The API says no; the message is what it says."""


class FirmwareApi:
    """
    Args:
        url: such as `https://wattaway.example.org`.
    Raises:
        SettingInvalid: no address, or a token would go over the network in clear.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingInvalid(f"--api: {url[:100]!r} is no address such as https://wattaway.example.org")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise SettingInvalid("--api: a token goes over https only, or to this machine")
        # A redirect would take the token along, a proxy would see it.
        without_proxy = [urllib.request.ProxyHandler({})] if parts.scheme == "http" else []
        self._opener = urllib.request.build_opener(_NoRedirects, *without_proxy)

    def publish(self, content: bytes, notes: str | None) -> tuple[dict[str, Any], bool]:
        """The release, and whether it is new."""
        query = {} if notes is None else {"notes": notes}
        status, release = self._ask("POST", "", query, content)
        return release, status == 201

    def releases(self, board: str | None) -> Iterator[dict[str, Any]]:
        """All releases, newest first; only those of `board`, if one is given."""
        query = {} if board is None else {"board": board}
        while True:
            _, page = self._ask("GET", "", query)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def withdraw(self, board: str, counter: int, reason: str | None) -> dict[str, Any]:
        """The release as it is now."""
        query = {} if reason is None else {"reason": reason}
        return self._ask("DELETE", f"/{quote(board, safe='')}/{counter}", query)[1]

    def _ask(
        self, method: str, path: str, query: dict[str, str], content: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        url = f"{self._url}/api/v1/firmware{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/octet-stream"}
        asked = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 - http(s), checked above
        try:
            with self._opener.open(asked, timeout=_TIMEOUT_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ApiRefused(_said(error)) from None
        except (OSError, ValueError) as error:
            raise DependencyUnavailable("api", f"{self._url}: {getattr(error, 'reason', error)}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none: whoever moved the API tells the new address to its admin."""


def firmware_api(url: str | None, token_file: Path | None) -> FirmwareApi:
    """The API that was named, or this machine's.

    Raises:
        SettingInvalid: there is no token.
    """
    from ops.settings import load_settings

    return FirmwareApi(url or load_settings().api_url, _token(token_file))


def _token(token_file: Path | None) -> str:
    if token_file is None:
        token, where = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    else:
        try:
            token, where = token_file.read_text(encoding="utf-8").split("\n", 1)[0].strip(), str(token_file)
        except (OSError, UnicodeError) as error:
            raise SettingInvalid(f"--token-file: {token_file} cannot be read: {error}") from error
    if not _is_token(token):
        raise SettingInvalid(f"{where} holds no API token: an admin makes one in the page's account view")
    return token


def _said(error: urllib.error.HTTPError) -> str:
    """What the API says in its problem document; without one, its status."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the API answers {error.code} {error.reason}"
