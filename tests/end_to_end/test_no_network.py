"""Starting talks to nobody: no socket is connected and no name is looked up but on loopback."""

import subprocess
import sys
from pathlib import Path

from tests.gateway_process import free_port

WATCHED = """
import runpy, sys

def watch(event, args):
    if event == "socket.connect" and not isinstance(args[1], str):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        print(f"NETWORK {event} {host}", file=sys.stderr, flush=True)

sys.addaudithook(watch)
"""


def watched(code: str, *arguments: str, timeout_s: float | None = None) -> str:
    command = [sys.executable, "-c", WATCHED + code, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        written, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        written, _ = process.communicate(timeout=30)
    return written


def test_imports_open_no_connection() -> None:
    code = """
import importlib, pkgutil, gateway
for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
    if not module.name.startswith(
        (
            "gateway.__main__",
            "gateway.accounting.migrations.env",
            "gateway.backends.local.network.kernels.compiled",  # a plain library of C
        )
    ):
        importlib.import_module(module.name)
print("imported", len(sys.modules))
"""
    written = watched(code)
    assert "imported" in written
    assert "NETWORK" not in written


def test_a_start_looks_nothing_up(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "deployments:\n"
        "  - {name: gpt, tier: large, backend: openai, model: gpt-4o,"
        " base_url: 'https://api.example.com/v1'}\n"
        f"ledger: {{url: 'sqlite:///{tmp_path / 'ledger.db'}'}}\n"
    )
    code = """
sys.argv = ["slm-gateway", *sys.argv[1:]]
runpy.run_module("gateway", run_name="__main__")
"""
    arguments = ("serve", "--config", str(config), "--port", str(free_port()))
    written = watched(code, *arguments, timeout_s=6)
    assert "startup complete" in written
    assert "NETWORK" not in written
