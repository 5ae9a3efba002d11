"""Server-sent events (WHATWG HTML, section 9.2) split out of a stream of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

#: An event longer than this is an upstream gone mad, not an answer.
MAX_EVENT_BYTES = 8 * 1024 * 1024


#: What makes an event worth reading: usage that isn't null, an error, the end mark, or a line that
#: isn't `data:`.
_NOTEWORTHY = re.compile(
    rb'"usage"\s*:\s*\{|"error"\s*:\s*[^\sn]|\[DONE\]|^(?!data:)[^\n]', re.MULTILINE
)
_MARKS = (b'"usage":{', b'"error"', b"[DONE]")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')


class EventTooLong(ValueError):
    """No event ended within MAX_EVENT_BYTES."""


class EventSplitter:
    """Cuts bytes that may break anywhere into blocks of whole events, with LF line ends."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._at_start = True

    def push(self, data: bytes) -> bytes:
        r"""The events that are complete now, each ended by `\n\n`; empty when none is."""
        if self._at_start and data:
            data = data.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        buffered = self._rest + data if self._rest else data
        end = buffered.rfind(b"\n\n")
        if end < 0:
            if len(buffered) > MAX_EVENT_BYTES:
                raise EventTooLong
            self._rest = buffered
            return b""
        self._rest = buffered[end + 2 :]
        return buffered[: end + 2]

    def flush(self) -> bytes:
        """What stands at the end without its blank line, which upstreams forget, if it's whole."""
        rest, self._rest = self._rest.strip(b"\n"), b""
        said = list(event_data(rest))
        return rest + b"\n\n" if said and all(map(_is_whole, said)) else b""

    def _with_lf(self, data: bytes) -> bytes:
        """CRLF and lone CR as LF, also where a CRLF is cut in two."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def first_noteworthy(block: bytes) -> int:
    """Where the first event begins that has to be read; the block's length where none has."""
    if _is_plain(block):
        found = [place for mark in _MARKS if (place := block.find(mark)) >= 0]
        place = min(found, default=-1)
    else:
        match = _NOTEWORTHY.search(block)
        place = -1 if match is None else match.start()
    if place < 0:
        return len(block)
    end_before = block.rfind(b"\n\n", 0, place)
    return end_before + 2 if end_before >= 0 else 0


def _is_plain(block: bytes) -> bool:
    """Whether a block is one `data:` line an event and JSON without spaces: counting tells."""
    events = block.count(b"\n\n")
    usages = block.count(b'"usage"')
    return (
        block.count(b"\n") == 2 * events
        and block.count(b"\n\ndata:") == events - 1
        and block.startswith(b"data:")
        and usages == block.count(b'"usage":null') + block.count(b'"usage":{')
    )


def is_finished(block: bytes) -> bool:
    """Whether an event of the block gives the reason why the answer has ended."""
    if b'"finish_reason":"' in block:
        return True
    if block.count(b'"finish_reason"') == block.count(b'"finish_reason":null'):
        return False
    return _FINISHED.search(block) is not None


def event_data(block: bytes) -> Iterator[bytes]:
    """The `data` of each event in a block; comments and other fields are passed over."""
    for event in block.split(b"\n\n"):
        lines = [
            line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")
        ]
        if lines:
            yield b"\n".join(lines)


def _is_whole(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.strip() == b"[DONE]"
    return True


def frame(data: bytes) -> bytes:
    """One event around `data`."""
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
