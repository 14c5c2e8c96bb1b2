"""Every setting with its value, default and meaning, and names that look like settings but are none."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ops.settings import ENV_FILE, ENV_PREFIX, Settings

# Read by the tests alone, or by compose.yaml; an admin's API token, which no role needs.
_NOT_SETTINGS = {
    "WATTAWAY_REQUIRE_STACK",
    "WATTAWAY_TRACEBASE_DIR",
    "WATTAWAY_DATABASE_PASSWORD",
    "WATTAWAY_REDIS_PASSWORD",
    "WATTAWAY_TOKEN",
}


def settings_listing(settings: Settings) -> Iterator[str]:
    """Lines that could stand in a `.env` file: each setting under its description; secrets are masked."""
    for name, field in Settings.model_fields.items():
        value, default = shown(getattr(settings, name)), shown(field.default)
        was = "" if value == default else f" (default: {default or 'empty'})"
        yield f"# {field.description}{was}"
        yield f"{ENV_PREFIX}{name.upper()}={value}"


def shown(value: Any) -> str:
    """A setting's value for people; of a secret URL everything but its password, of another secret nothing."""
    if not isinstance(value, SecretStr):
        return str(value)
    secret = value.get_secret_value()
    if "://" not in secret:
        return "********" if secret else ""
    try:
        return make_url(secret).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "********"


def unknown_settings(environment: Mapping[str, str] = os.environ, env_file: Path = Path(ENV_FILE)) -> dict[str, str]:
    """Variables that look like settings but are none → the setting that was probably meant, or an empty string."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    present = set(environment)
    with suppress(UnicodeDecodeError):  # of which `load_settings` complains
        present.update(dotenv_values(env_file) if env_file.is_file() else ())
    strangers = sorted(name for name in present if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, 1)), "") for name in strangers}
