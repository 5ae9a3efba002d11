"""Writes the locks: every version pinned, with the hashes of all its files, for every platform.

runtime.txt      what the gateway needs
development.txt  the same, and what its tests and checks need
cuda.txt         what the index's own torch for Linux needs beside them; a CPU build doesn't
llamaindex.txt   what LlamaIndex needs beside development.txt: its test installs that apart, since
                 LlamaIndex wants an older SDK of OpenAI than the other tests

Versions stay as they are unless `--upgrade` (or another option of `uv pip compile`) is given.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
CUDA = re.compile(r"(nvidia|cuda)-|triton==")
HEADER = "# Written by `make lock`.\n"


def resolved(source: list[str], pinned_by: list[Path], options: list[str]) -> list[str]:
    """One block of text a package, its hashes included."""
    arguments = ["--universal", "--python-version=3.11", "--generate-hashes", "--allow-unsafe"]
    arguments += ["--no-header", "--no-annotate", "--quiet"]
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as output:
        # uv keeps the versions that it finds in the file it is to write.
        for path in pinned_by:
            output.write(path.read_text())
        output.flush()
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "compile", *source, f"--output-file={output.name}"]
        subprocess.run([*command, *arguments, *options], check=True)  # noqa: S603 (our own words)
        text = Path(output.name).read_text()
    return re.findall(r"^\S.*(?:\n .*)*", text, flags=re.MULTILINE)


def write(name: str, blocks: list[str]) -> Path:
    """Write one lock."""
    path = FOLDER / name
    path.write_text(HEADER + "\n".join(blocks) + "\n")
    return path


def with_extras(*extras: str) -> list[str]:
    """The project and some of its extras, as uv's arguments."""
    return [str(PROJECT), *(f"--extra={extra}" for extra in extras)]


def main(options: list[str]) -> None:
    """Resolve, then part what only CUDA needs from the rest."""
    known = [path for path in (FOLDER / "development.txt", FOLDER / "cuda.txt") if path.exists()]
    everything = resolved(with_extras("dev", "postgres"), known, options)
    cuda = write("cuda.txt", [block for block in everything if CUDA.match(block)])
    rest = [block for block in everything if not CUDA.match(block)]
    development = write("development.txt", rest)
    runtime = resolved(with_extras("postgres", "redis"), [development, cuda], [])
    write("runtime.txt", [block for block in runtime if not CUDA.match(block)])
    llamaindex = resolved([f"--group={PROJECT}:llamaindex"], [development], [])
    write("llamaindex.txt", [block for block in llamaindex if block not in rest])


if __name__ == "__main__":
    main(sys.argv[1:])
