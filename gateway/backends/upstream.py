"""One upstream: its connections, its key, and what its failures mean for a request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from gateway import __version__
from gateway.backends.http1 import (
    Connection,
    Disconnected,
    HttpFailure,
    NotConnected,
    TimedOut,
    Timeouts,
)
from gateway.backends.pool import Pool
from gateway.backends.upstream_errors import refusal
from gateway.core.energy import Reading
from gateway.core.errors import (
    BackendError,
    StreamInterrupted,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.core.request import Caller
from gateway.power.meter import PowerMeter
from gateway.power.nvml import Nvml

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
_TIMEOUTS = Timeouts()

#: W3C Trace Context, version 00 and later ones.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")


class Upstream:
    """Asks one upstream. Its connections live from `start` to `stop`."""

    def __init__(
        self,
        *,
        base_url: str,
        secret: str | None,
        headers: Mapping[str, str],
        timeouts: Timeouts = _TIMEOUTS,
        query: Mapping[str, str] | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """`headers` (those with the key among them) and `query` go with every request.

        `secret` is the key, so that no error can repeat it.
        """
        self._url = base_url.rstrip("/")
        self._timeouts = timeouts
        self._query = urlencode(query or {})
        self._headers = {
            "accept-encoding": "identity",
            "user-agent": f"slm-gateway/{__version__}",
            **{name.lower(): value for name, value in headers.items()},
        }
        self.secret = secret
        self.max_response_bytes = max_response_bytes
        self._pool: Pool | None = None

    async def start(self) -> None:
        """Make the connection pool; nothing is opened before the first call."""
        self._pool = Pool(self._url, self._headers, self._timeouts, query=self._query)

    async def stop(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
            await asyncio.sleep(0)  # the event loop may end next, and closes nothing then

    def not_ready(self) -> str | None:
        """Always ready once started: whether the upstream is up shows in its answers."""
        return None if self._pool is not None else "not started"

    async def ask(
        self,
        body: bytes,
        caller: Caller,
        *,
        path: str,
        whole: bool,
        method: str = "POST",
        headers: bytes = b"",
    ) -> Connection:
        """The answer, whole or once its head has come; a refusal is always whole.

        `path` stands behind the base URL; `headers` are whole lines beside the usual ones. The
        connection is to be released. Raises a BackendError.
        """
        if self._pool is None:
            raise UpstreamUnavailable("The backend is not started.")
        traceparent = caller.traceparent
        if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
            headers += b"traceparent: %b\r\n" % traceparent.encode()
        limit = self.max_response_bytes
        try:
            connection = await self._pool.exchange(
                body, path=path, method=method, whole=whole, limit=limit, headers=headers
            )
            if connection.status >= 300 and not connection.complete:
                await _rest_of_refusal(connection)
        except HttpFailure as failure:
            raise failed(failure) from failure
        return connection

    async def rest(self, connection: Connection) -> bytes:
        """The body of a stream that is none. Raises a BackendError."""
        content = bytearray()
        try:
            while piece := await connection.piece():
                content += piece
                if len(content) > self.max_response_bytes:
                    raise UpstreamUnavailable("The upstream's answer is too large.")
        except HttpFailure as failure:
            raise failed(failure) from failure
        return bytes(content)

    def refused(self, connection: Connection) -> BackendError:
        """What an answer that isn't a success means, in the words of OpenAI's envelope."""
        status = connection.status
        if status < 400:
            message = f"The upstream answered with status {status}; redirects are not followed."
            return UpstreamError(message, status=status)
        return refusal(status, connection.headers, connection.taken(), secret=self.secret)


class UpstreamBackend:
    """The lifetime of a backend that is one upstream.

    `gpus` are the numbers of this machine's GPUs that the upstream runs on: they are measured.
    """

    _upstream: Upstream
    _power: PowerMeter | None = None
    gpus: Sequence[int] = ()

    async def start(self) -> None:
        """Make the connection pool; nothing is opened before the first call."""
        await self._upstream.start()
        counter = await asyncio.to_thread(Nvml.found, self.gpus) if self.gpus else None
        if counter is not None:
            self._power = PowerMeter(counter)
            self._power.start()

    async def stop(self) -> None:
        """Close the connections."""
        if self._power is not None:
            self._power.stop()
        await self._upstream.stop()

    def reading(self, compute_s: float, elapsed_s: float) -> Reading | None:
        """What a call has drawn of the GPUs; None where they aren't measured."""
        return None if self._power is None else self._power.reading(compute_s, elapsed_s)

    def not_ready(self) -> str | None:
        """Always ready once started: whether the upstream is up shows in its answers."""
        return self._upstream.not_ready()


async def _rest_of_refusal(connection: Connection) -> None:
    try:
        await connection.completed()
    except BaseException:
        connection.abort()
        raise


def failed(failure: HttpFailure) -> BackendError:
    """What an exchange that failed means for the request."""
    if isinstance(failure, TimedOut):
        return UpstreamTimeout("The upstream didn't answer in time.")
    if isinstance(failure, NotConnected | Disconnected):
        kind = UpstreamUnreachable if isinstance(failure, NotConnected) else UpstreamUnavailable
        return kind("The upstream can't be reached, or it closed the connection.")
    return UpstreamUnavailable(f"The upstream's answer can't be used: {failure}.")


def interrupted(error: BackendError) -> StreamInterrupted:
    """A failure after a stream had begun."""
    cut = StreamInterrupted(error.message, code=error.code, param=error.param)
    cut.timed_out = error.timed_out
    return cut
