"""The connections to one upstream, kept alive and used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.backends.http1 import Connection, NotConnected, Timeouts

#: Heads of requests that are kept; a path may hold an id.
_MOST_HEADS = 64


class Pool:
    """Connections to one host; idle ones are used again, the newest first."""

    def __init__(
        self, url: str, headers: Mapping[str, str], timeouts: Timeouts, *, query: str = ""
    ) -> None:
        """`headers` and `query` go with every request, and `url` stands before every path.

        Raises ValueError for what can't stand in a head.
        """
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._authority = parts.netloc
        self._path = parts.path
        self._query = query
        self._headers = dict(headers)
        self._heads: dict[tuple[str, str], bytes] = {}
        self._head("POST", "")
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self.timeouts = timeouts
        self.loop = asyncio.get_running_loop()

    async def exchange(
        self,
        body: bytes,
        *,
        whole: bool,
        limit: int,
        path: str = "",
        method: str = "POST",
        headers: bytes = b"",
    ) -> Connection:
        """The answer to a request, read as `Connection.ask` says; to be released by the caller.

        `headers` are whole lines, each ended by CRLF. Raises HttpFailure.
        """
        head = self._heads.get((method, path)) or self._head(method, path)
        request = b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(body), headers, body)
        connection = self._ready() or await self._connected()
        try:
            await connection.ask(request, whole=whole, limit=limit)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _head(self, method: str, path: str) -> bytes:
        """The request line and the headers that are always the same; the usual ones are kept."""
        target = f"{self._path}{path}" or "/"
        if self._query:
            target += f"{'&' if '?' in path else '?'}{self._query}"
        head = _head_of(f"{method} {target}", self._authority, self._headers)
        if len(self._heads) < _MOST_HEADS:
            self._heads[method, path] = head
        return head

    def put(self, connection: Connection) -> None:
        """Take a connection back that can be used again."""
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close every connection, those too that are still being made."""
        self._is_closed = True
        for connection in tuple(self._all):
            connection.abort()

    def _ready(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connected(self) -> Connection:
        if self._is_tls and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise NotConnected("it can't be reached in time") from None
        except (OSError, ssl.SSLError) as error:
            raise NotConnected("it can't be reached") from error
        if self._is_closed:
            connection.abort()
            raise NotConnected("the gateway has closed its connections to it")
        self._all.add(connection)
        return connection


def _head_of(target: str, authority: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{target} HTTP/1.1", f"host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(not line.isprintable() for line in lines):
        raise ValueError("a header of the upstream holds a character that no header may")
    return "\r\n".join([*lines, ""]).encode("latin-1")
