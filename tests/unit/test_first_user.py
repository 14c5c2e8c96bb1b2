"""The first user: by a code that counts once, or from the command line."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.people import People
from domain.errors import RuleBroken
from domain.lifecycle.access import Access
from domain.lifecycle.mapping import decode_lifecycle_event
from ops.application import open_application
from ops.cli import app
from ops.registering import demo_tenant_id, registration
from ops.set_up_code import held_set_up_code, new_set_up_code
from ops.settings import Settings
from ops.wiring import migrate
from tests.servers import settings_from

GOOD = "a good password"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of an installation of its own, which the command line finds."""
    env = {"WATTAWAY_DATA_DIR": str(tmp_path), "WATTAWAY_REDIS_URL": "redis://127.0.0.1:1"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    found = settings_from(env)
    migrate(found)
    return found


def run(*arguments: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["set-up", *arguments], input=typed)
    return done.exit_code, done.output + str(done.exception or "")


def take(data_dir: Path, code: str) -> bool:
    with held_set_up_code(data_dir, code) as is_good:
        return is_good


def access_of(settings: Settings) -> Access:
    access = Access()
    with open_application(settings) as application:
        for notification in application.lifecycle.log_recorder.select_notifications(None, 1000):
            access.apply(decode_lifecycle_event(notification.topic, notification.state))
    return access


def test_a_code_counts_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    code = new_set_up_code(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert code not in file.read_text()
    assert not take(tmp_path, "0" * 64)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(partial(take, tmp_path), [code] * 32)) == 1
    assert not take(tmp_path, code)


def test_a_code_is_not_used_up_by_what_fails(tmp_path: Path) -> None:
    code = new_set_up_code(tmp_path)
    with pytest.raises(RuleBroken), held_set_up_code(tmp_path, code):
        raise RuleBroken("name-taken", "somebody else has this email")
    assert take(tmp_path, code)


def test_a_new_code_replaces_the_old_one(tmp_path: Path) -> None:
    old, new = new_set_up_code(tmp_path), new_set_up_code(tmp_path)
    assert not take(tmp_path, old)
    assert take(tmp_path, new)


def test_the_first_user_is_admin_and_owns_the_demo_and_there_is_no_second_one(settings: Settings) -> None:
    with registration(settings) as registering:
        registering.tokens(["sim-1"])
    code = new_set_up_code(settings.data_dir)
    secret = settings.data_dir / "password"
    secret.write_text(f"{GOOD}\nnot this\n")

    assert run("--email", "ada@example.org", "--name", "Ada", "--password-file", str(secret))[0] == 0

    access = access_of(settings)
    ((user_id, user),) = access.users.items()
    assert access.admins == {user_id}
    assert user.tenant_ids == {demo_tenant_id()}
    assert access.device_ids_of(user_id) == ["sim-1"]
    with open_application(settings) as application:
        assert application.accounts.authenticate("ada@example.org", GOOD) == user_id
        assert application.accounts.authenticate("ada@example.org", "not this") is None
    assert not take(settings.data_dir, code)
    exit_code, said = run("--email", "eve@example.org", "--password-file", str(secret))
    assert exit_code != 0
    assert "already" in said


def test_what_is_not_said_is_asked_for_and_the_password_is_not_shown(settings: Settings) -> None:
    exit_code, said = run(typed=f"ada@example.org\nAda\nLovelace's\n{GOOD}\n{GOOD}\n")
    assert exit_code == 0, said
    assert GOOD not in said
    (tenant,) = access_of(settings).tenants.values()
    with open_application(settings) as application:
        assert People(application.personal).tenant_name(tenant) == "Lovelace's"


@pytest.mark.parametrize(
    ("email", "password", "named"),
    [("ada", GOOD, "--email"), ("ada@example.org", "short", "password"), ("ada@example.org", "", "password")],
)
def test_what_is_wrong_is_named_and_changes_nothing(settings: Settings, email: str, password: str, named: str) -> None:
    secret = settings.data_dir / "password"
    secret.write_text(password)
    exit_code, said = run("--email", email, "--password-file", str(secret))
    assert exit_code != 0
    assert named in said
    assert not access_of(settings).users
