"""Diagnostics: one structured line a request, rendered and written away from the event loop."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

import orjson
import structlog

from gateway.settings import LoggingSettings

Fields = MutableMapping[str, Any]
Renderer = Callable[[Any, str, Fields], str | bytes | Mapping[str, Any]]

#: Lines are written together: a thread that wakes for each costs more than the line does.
WRITE_EVERY_S = 0.1
#: Lines that wait while nobody takes the output; then the oldest are dropped.
MOST_WAITING = 100_000


class Logs:
    """Every logger's records and a line a request, on standard output from enter to exit."""

    def __init__(self, settings: LoggingSettings) -> None:
        self._settings = settings
        self._root = logging.getLogger()
        self._render = _renderer(settings.format)
        self._waiting: deque[logging.LogRecord | tuple[datetime, Fields]] = deque(
            maxlen=MOST_WAITING
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="logs", daemon=True)
        self._handler = _Handler(self._waiting)
        self._format_exception = logging.Formatter().formatException

    def request(self, fields: Fields, level: int) -> None:
        """Write one line about a request, where its level is shown."""
        if self._root.isEnabledFor(level):
            self._waiting.append((datetime.now(UTC), fields))

    def __enter__(self) -> Self:
        self._root.addHandler(self._handler)
        set_level(self._settings)
        for chatty in ("uvicorn.access", "httpx", "asyncio", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._root.removeHandler(self._handler)
        self._ended.set()
        self._thread.join()

    def _write_on(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(WRITE_EVERY_S)
            if self._waiting:
                # A full disk or a closed pipe must not end logging for good.
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.write("".join(self._lines()))
                    sys.stdout.flush()

    def _lines(self) -> list[str]:
        lines = []
        for _ in range(len(self._waiting)):
            item = self._waiting.popleft()
            try:
                line = self._rendered(item)
            except Exception as error:  # of whoever wrote the record, who is not here any more
                line = f"a line of the log can't be written: {error!r}"
            lines += [line, "\n"]
        return lines

    def _rendered(self, item: logging.LogRecord | tuple[datetime, Fields]) -> str:
        fields = self._fields_of(item) if isinstance(item, logging.LogRecord) else _line(*item)
        rendered = self._render(None, fields["level"], fields)
        return rendered.decode() if isinstance(rendered, bytes) else str(rendered)

    def _fields_of(self, record: logging.LogRecord) -> Fields:
        fields: Fields = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self._format_exception(record.exc_info)
        fields["timestamp"] = datetime.fromtimestamp(record.created, UTC)
        return fields


def set_level(settings: LoggingSettings) -> None:
    """Let through what is at least as severe as the configured level."""
    logging.getLogger().setLevel(settings.level.upper())


def _line(moment: datetime, fields: Fields) -> Fields:
    return {"event": "request", "level": "info", **fields, "timestamp": moment}


class _Handler(logging.Handler):
    """Puts records where they wait; formatting is left to the thread that writes."""

    def __init__(self, waiting: deque[logging.LogRecord | tuple[datetime, Fields]]) -> None:
        super().__init__()
        self._waiting = waiting

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)


def _renderer(form: str) -> Renderer:
    if form == "console" or (form == "auto" and sys.stdout.isatty()):
        console = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())

        def render(logger: Any, name: str, fields: Fields) -> str:
            fields["timestamp"] = fields["timestamp"].isoformat(timespec="milliseconds")
            return console(logger, name, fields)

        return render
    return lambda _, __, fields: orjson.dumps(fields, _plain, orjson.OPT_UTC_Z)


def _plain(value: object) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
