"""The ledger's rows and sums as Parquet. Needs the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from gateway.accounting.database import UtcTimestamp, ledger
from gateway.accounting.totals import call_totals

#: Whole pico-USD, as many as 64 bits hold.
_USD = pa.decimal128(25, 12)


def write_parquet(
    path: Path, columns: Sequence[str], batches: Iterable[Sequence[dict[str, Any]]]
) -> None:
    """Write records as `LedgerReader` gives them, a row group a batch. Raises OSError.

    Amounts are exact (`decimal128`), moments are UTC to the microsecond, tags a map.
    """
    schema = pa.schema([(name, _type_of(name)) for name in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for records in batches:
            whole = [_with_types(record) for record in records]
            writer.write_batch(pa.RecordBatch.from_pylist(whole, schema))


def _with_types(record: dict[str, Any]) -> dict[str, Any]:
    """Moments and amounts, which are texts for people."""
    changed: dict[str, Any] = {}
    if record.get("ts") is not None:
        changed["ts"] = datetime.fromisoformat(record["ts"])
    if record.get("cost_usd") is not None:
        changed["cost_usd"] = Decimal(record["cost_usd"])
    if "tags" in record:
        changed["tags"] = list(record["tags"].items())
    return {**record, **changed}


def _type_of(name: str) -> pa.DataType:
    special = {"cost_usd": _USD, "tags": pa.map_(pa.string(), pa.string())}
    if name in special:
        return special[name]
    column = ledger.c.get(name)
    kind = (call_totals.c.get(name, sa.column(name, sa.Text)) if column is None else column).type
    if isinstance(kind, UtcTimestamp):
        return pa.timestamp("us", tz="UTC")
    types = {sa.Boolean: pa.bool_(), sa.Integer: pa.int64(), sa.Double: pa.float64()}
    found = [arrow for python, arrow in types.items() if isinstance(kind, python)]
    return found[0] if found else pa.string()
