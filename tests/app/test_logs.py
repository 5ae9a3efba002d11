"""The log is written away from the event loop, and outlives what can't be written."""

import io
import json
import logging
import sys

import pytest

from gateway.app.logs import Logs
from gateway.settings import LoggingSettings


class Full(io.StringIO):
    """A disk that is full for the first write."""

    failures = 1

    def write(self, text: str) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left on device")
        return super().write(text)


def events(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return [json.loads(line)["event"] for line in lines]


@pytest.fixture(autouse=True)
def _the_root_loggers_level() -> object:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


def test_a_record_that_cannot_be_rendered_ends_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else pytest keeps the record, which its processes can't tell each other of either.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with Logs(LoggingSettings(format="json")) as logs:
        logging.getLogger("x").warning("\ud800")
        logging.getLogger("x").warning("after")
        logs.request({"status": 200}, logging.INFO)
    written = capsys.readouterr().out
    assert events(written)[-2:] == ["after", "request"]
    assert written.count("a line of the log can't be written") == 1


def test_an_output_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Full()
    monkeypatch.setattr(sys, "stdout", output)
    with Logs(LoggingSettings(format="json")):
        logging.getLogger("x").warning("lost")
        while output.failures:
            pass
        logging.getLogger("x").warning("after")
    assert events(output.getvalue()) == ["after"]
