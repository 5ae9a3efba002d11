"""`python -m tests.vendor --port N [--chunks K]`: the simulator alone, for benchmarks."""

import argparse

from aiohttp import web

from tests.vendor.behaviour import Behaviour
from tests.vendor.server import Vendor

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--chunks", type=int)
options = parser.parse_args()
vendor = Vendor()
vendor.recording = False
vendor.default = Behaviour(chunks=options.chunks)
web.run_app(
    vendor.application(), host="127.0.0.1", port=options.port, print=None, handler_cancellation=True
)
