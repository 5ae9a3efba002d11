"""The gateway's command line, watched: `python -m benchmarks.observed FILE serve …`.

The number of asyncio tasks of the web process goes into FILE twice a second.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from socket import socket

import uvicorn

from gateway.app.cli import main as gateway_main


def _observe(path: Path) -> None:
    """Have uvicorn's `serve`, which runs as long as the server does, report besides."""
    serve = uvicorn.Server.serve

    async def observed(self: uvicorn.Server, sockets: list[socket] | None = None) -> None:
        reporting = asyncio.create_task(_report(path))
        try:
            await serve(self, sockets)
        finally:
            reporting.cancel()

    uvicorn.Server.serve = observed  # type: ignore[method-assign]


async def _report(path: Path) -> None:
    while True:
        _replace(path, str(len(asyncio.all_tasks()) - 1))
        await asyncio.sleep(0.5)


def _replace(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def main() -> None:
    """Run the gateway's command line with the arguments after FILE."""
    _observe(Path(sys.argv.pop(1)))
    gateway_main()


if __name__ == "__main__":
    main()
