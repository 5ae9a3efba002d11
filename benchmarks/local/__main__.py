"""The local engine beside its peers, or beside itself in float32: `python -m benchmarks.local`.

One machine, one run, the same weights and prompts. With `--quality` it is asked instead what int8
costs: perplexity and equal answers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import signal
import sys

from rich.console import Console

from benchmarks.local.systems import PEERS
from benchmarks.report import provenance, write_section

SYSTEMS = ("us", "llama", "continuous", "generate")
_VERSIONS = ("torch", "transformers", "tokenizers")


def main() -> None:
    """Measure and print Markdown."""
    options = _options()
    # As Ctrl-C: processes that are stopped just then would stay behind for ever.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True)
    threads = options.threads or min(2, len(os.sched_getaffinity(0)))
    if options.quality:
        from benchmarks.local.quality import quality

        title, text = "The local engine's int8", quality(threads, console.print)
    else:
        from benchmarks.local.compare import Comparison
        from benchmarks.local.report import report

        comparison = Comparison(options.only, threads, options.dtype, console.print)
        title, text = "The local engine beside its peers", report(comparison.run(options.rounds))
    command = " ".join(("python -m benchmarks.local", *sys.argv[1:]))
    text = f"{provenance(command, _versions())}\n\n{text}"
    print(text if not options.markdown else f"## {title}\n{text}")
    if options.write:
        write_section(title, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local")
    parser.add_argument("--quality", action="store_true", help="int8 beside float32 instead")
    parser.add_argument("--only", type=_names, default=SYSTEMS, help=f"of {','.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of each system (2, or 1 on a single core)")
    parser.add_argument("--dtype", default="auto", help="of our engine")
    parser.add_argument("--markdown", action="store_true", help="with the section's heading")
    parser.add_argument("--write", action="store_true", help="put it into benchmarks/RESULTS.md")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(SYSTEMS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _versions() -> list[str]:
    installed = PEERS.parent.parent.glob("lib/python*/site-packages/llama_cpp_python-*.dist-info")
    return [
        *(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS),
        *(f"llama-cpp-python {path.stem.partition('-')[2]}" for path in installed),
    ]


if __name__ == "__main__":
    main()
