"""Diagnostics: one structured line a request, rendered and written away from the event loop."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from decimal import Decimal
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any

import orjson
import structlog

from gateway.settings import LoggingSettings

Fields = MutableMapping[str, Any]
Renderer = Callable[[Any, str, Fields], str | bytes | Mapping[str, Any]]


@contextmanager
def logging_to_stdout(settings: LoggingSettings) -> Iterator[None]:
    """Send every logger's records to standard output until the block ends."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(_Formatter(_renderer(settings.format)))
    listener = QueueListener(queue, output)
    root = logging.getLogger()
    handler = _UnpreparedQueueHandler(queue)
    root.addHandler(handler)
    set_level(settings)
    for chatty in ("uvicorn.access", "httpx", "asyncio", "alembic", "aiohttp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        listener.stop()


def set_level(settings: LoggingSettings) -> None:
    """Let through what is at least as severe as the configured level."""
    logging.getLogger().setLevel(settings.level.upper())


class _UnpreparedQueueHandler(QueueHandler):
    """Leaves all formatting to the listener's thread."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _Formatter(logging.Formatter):
    """A record's message and `fields` through structlog's processors."""

    def __init__(self, render: Renderer) -> None:
        super().__init__()
        self._render = render
        self._stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

    def format(self, record: logging.LogRecord) -> str:
        fields: Fields = {"event": record.getMessage(), "level": record.levelname.lower()}
        if record.name != "gateway.request":
            fields["logger"] = record.name
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        rendered = self._render(None, record.levelname, self._stamp(None, "", fields))
        return rendered.decode() if isinstance(rendered, bytes) else str(rendered)


def _renderer(form: str) -> Renderer:
    if form == "console" or (form == "auto" and sys.stdout.isatty()):
        return structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    return structlog.processors.JSONRenderer(serializer=_dumps)


def _dumps(fields: Mapping[str, Any], **_: object) -> bytes:
    return orjson.dumps(fields, default=_plain)


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
