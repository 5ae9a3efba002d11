"""What crosses the engine's boundary: a request in, its events out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: One JSON object on the socket, told apart by its `type`.
Event = dict[str, Any]


@dataclass(slots=True)
class Submission:
    """One request as it came over the socket, and where its events go.

    `asked` holds the sampling fields that the request sets.
    """

    messages: Sequence[Mapping[str, Any]]
    asked: Mapping[str, Any]
    emit: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
