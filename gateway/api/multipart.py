"""Where a field stands in a form (multipart/form-data, RFC 7578); files are passed over."""

from __future__ import annotations

import re

from gateway.core.errors import InvalidRequest

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*;\s*name="([^"\r\n]*)"', re.IGNORECASE | re.M)
_MOST_PARTS = 256


def field_spans(
    body: bytes, content_type: str, *, once: frozenset[str] = frozenset()
) -> dict[str, tuple[int, int]]:
    """By name, where each field's first value lies: start and end in the body.

    What isn't a form has none, or not all of them: its reader will say what is wrong with it.
    Raises InvalidRequest where a field of `once` stands twice: readers differ in which they take.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        return {}
    # The first delimiter may stand at the very beginning; every other one begins a line.
    delimiter = b"\r\n--" + (found.group(1) or found.group(2)).encode("latin-1", "replace")
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(_MOST_PARTS):
        start = body.find(b"\r\n\r\n", at) + 4
        end = body.find(delimiter, start)
        if at < 0 or start < 4 or end < 0:
            break
        name = _NAME.search(body, at, start)
        if name is not None:
            field = name.group(1).decode("utf-8", "replace")
            if field in spans and field in once:
                raise InvalidRequest(f"The field '{field}' stands twice.", param=field)
            spans.setdefault(field, (start, end))
        at = end
    return spans
