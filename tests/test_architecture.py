"""The rules of the house that the import contracts can't express."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gateway"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "services", "managers"}


def attributes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_settings_read_the_environment(path: Path) -> None:
    reads = {"os.environ", "os.getenv", "os.environb"} & set(attributes(path))
    assert not reads or relative(path) == "settings/environment.py"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_named_after_the_domain_and_hold_one_idea(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_is_declared_global(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy_and_opens_no_socket() -> None:
    code = """
import sys
def refuse(event, args):
    if event.startswith("socket."):
        raise SystemExit(f"opened a socket: {event}")
sys.addaudithook(refuse)
import gateway
print(sorted({"torch", "transformers", "fastapi", "sqlalchemy"} & set(sys.modules)))
"""
    assert run_python(code) == "[]"


def test_the_web_process_never_loads_torch() -> None:
    code = """
import sys
import gateway.app.server
print(sorted({"torch", "transformers", "sklearn"} & set(sys.modules)))
"""
    assert run_python(code) == "[]"
