"""Room on disk, looked at before it is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from gateway.backends.local.refused import FetchError


def require_space(folder: Path, needed: int) -> None:
    """Raises FetchError where the disk of `folder` has less than so many bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"Fetching takes {needed / 1e6:,.0f} MB of disk space, and {folder.parent} has "
            f"{free / 1e6:,.0f} MB left."
        )
