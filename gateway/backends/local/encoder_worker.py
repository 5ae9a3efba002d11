"""The encoder's process: `worker`'s protocol, with texts in and vectors out.

A `submit` has `texts` and `as_base64`; its `end` has `vectors`, each as text: base64, or a JSON
array.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gateway.backends.local.submission import EncodeJob, Event
from gateway.backends.local.worker import Emit, Served, main, usable_cores


def _job(command: Event, emit: Emit) -> EncodeJob:
    return EncodeJob(command["texts"], command["as_base64"], emit)


def _loaded(options: argparse.Namespace) -> tuple[Served, Event]:
    import torch

    from gateway.backends.local.encoder import Encoder
    from gateway.backends.local.encoder_engine import EncoderEngine

    torch.set_num_threads(options.threads or usable_cores())
    encoder = Encoder.of_folder(Path(options.folder), options.dtype)
    engine = EncoderEngine(encoder, most_inside=options.max_concurrent + options.max_queue)
    return engine, {"state": "ready", "context_window": encoder.most_tokens, "pid": os.getpid()}


if __name__ == "__main__":
    main(_loaded, _job)
