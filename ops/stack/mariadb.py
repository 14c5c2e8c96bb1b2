"""MariaDB 10.11 as a child process: own data directory, its database and user made at every start."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pymysql

from domain.errors import DependencyUnavailable, SettingInvalid
from ops.child import ChildSpec
from ops.credentials import stored_secret
from ops.embedded.ports import LOOPBACK
from ops.stack.packages import find_program
from ops.stack.private_files import write_private

DATABASE = "wattaway"
USER = "wattaway"
_SERVER_ACCOUNT = "mysql"
_ELSEWHERE = Path("/var/lib/wattaway-stack")
_CREATE_TIMEOUT_S = 120
_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
# A tmpdir of its own: at its start every server deletes the temporary tables that it finds there, whosever they are.
# innodb_flush_log_at_trx_commit=1 is the honest one: a committed batch survives a power cut.
_OPTIONS = """[mysqld]
bind-address = {host}
port = {port}
datadir = {data}
tmpdir = {temporary}
socket = mariadb.sock
pid-file = mariadb.pid
init-file = {init}
character-set-server = utf8mb4
collation-server = utf8mb4_bin
innodb_buffer_pool_size = 512M
innodb_log_file_size = 256M
innodb_flush_log_at_trx_commit = 1
max_connections = 200
max_allowed_packet = 64M
skip-name-resolve
skip-log-bin
"""


class MariaDbServer:
    """One MariaDB on loopback; as root it runs under Debian's `mysql` account, else under yours."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = _reachable(directory), port
        self._data = self._directory / "data"
        self.spec = ChildSpec(
            name="mariadb",
            argv=[find_program("mariadbd"), f"--defaults-file={self._directory / 'my.cnf'}"],
            log_path=directory / "mariadb.log",
            is_ready=self._answers,
            prepare=self._prepare,
            ready_within_s=_READY_TIMEOUT_S,
            stop_within_s=_STOP_TIMEOUT_S,
            account=_SERVER_ACCOUNT if os.geteuid() == 0 else "",
        )

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, password included: a secret."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The same of another database; its name must begin with `wattaway`."""
        return f"mysql+pymysql://{USER}:{self._password}@{LOOPBACK}:{self._port}/{database}?charset=utf8mb4"

    @property
    def _password(self) -> str:
        return stored_secret(self._directory / "mariadb.secret")

    def login(self) -> dict[str, Any]:
        """Arguments for `pymysql.connect`, password included: a secret."""
        return {"host": LOOPBACK, "port": self._port, "user": USER, "password": self._password}

    def erase(self) -> None:
        """Delete its data; the server must not run."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self) -> None:
        temporary = self._directory / "tmp"
        for directory in (self._directory, temporary, self.spec.log_path.parent):
            directory.mkdir(parents=True, exist_ok=True)
        init_path, options_path = self._directory / "init.sql", self._directory / "my.cnf"
        write_private(init_path, _init_sql(self._password))
        places = {"data": self._data, "temporary": temporary, "init": init_path}
        write_private(options_path, _OPTIONS.format(host=LOOPBACK, port=self._port, **places))
        if os.geteuid() == 0:
            self._hand_over(temporary, init_path, options_path)
        if not (self._data / "mysql").is_dir():
            self._create_data()

    def _hand_over(self, *paths: Path) -> None:
        """The server drops to its own account and must read its files from there."""
        account = _server_account()
        for path in (self._directory, *paths):
            os.chown(path, account.pw_uid, account.pw_gid)

    def _create_data(self) -> None:
        """Fill the data directory beside its place and move it there: half of one is never taken for a whole."""
        fresh = self._directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        argv = [find_program("mariadb-install-db"), "--no-defaults", f"--datadir={fresh}", "--skip-test-db"]
        argv += ["--auth-root-authentication-method=socket", "--skip-name-resolve", *_account_option()]
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_CREATE_TIMEOUT_S)  # noqa: S603
        except subprocess.CalledProcessError as error:
            raise DependencyUnavailable("mariadb", f"mariadb-install-db failed: {error.stderr[-400:]}") from error
        except subprocess.TimeoutExpired as error:
            raise DependencyUnavailable("mariadb", f"no data directory after {_CREATE_TIMEOUT_S} s") from error
        fresh.rename(self._data)

    def _answers(self) -> bool:
        try:
            pymysql.connect(**self.login(), database=DATABASE, connect_timeout=2).close()
        except (pymysql.MySQLError, OSError):
            return False
        return True


def _account_option() -> list[str]:
    return [f"--user={_SERVER_ACCOUNT}"] if os.geteuid() == 0 else []


def _server_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_SERVER_ACCOUNT)
    except KeyError:
        raise SettingInvalid(f"the account {_SERVER_ACCOUNT} is missing: install mariadb-server") from None


def _reachable(directory: Path) -> Path:
    """`directory`, or one below `/var/lib` where a parent (such as `/root`) shuts out the server's account."""
    directory = directory.absolute()
    if os.geteuid() != 0:
        return directory
    account = _server_account()
    if all(_may_enter(parent, account) for parent in directory.parents if parent.exists()):
        return directory
    return _ELSEWHERE / hashlib.sha256(os.fsencode(str(directory))).hexdigest()[:16]


def _may_enter(directory: Path, account: pwd.struct_passwd) -> bool:
    status = directory.stat()
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.pw_gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _init_sql(password: str) -> str:
    """Run by the server itself at each start; every statement may be repeated.

    The user may make further databases whose names begin with `wattaway`: a rebuild elsewhere, a test.
    """
    who = f"'{USER}'@'{LOOPBACK}'"
    return (
        f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"
        f"CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '{password}';\n"
        f"ALTER USER {who} IDENTIFIED BY '{password}';\n"
        f"GRANT ALL PRIVILEGES ON `{DATABASE}%`.* TO {who};\n"
    )
