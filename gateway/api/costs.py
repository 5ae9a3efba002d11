"""`GET /v1/costs`: ledger rows and summaries."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

import orjson
from fastapi import APIRouter, Query, Response

Row = Mapping[str, Any]


class CostReader(Protocol):
    """What reads the ledger."""

    def rows(self, *, limit: int, **filters: Any) -> Sequence[Row]:
        """The newest rows."""

    def summary(self, by: str, **filters: Any) -> Sequence[Row]:
        """Calls, tokens and cost, a row a group."""
