"""llama.cpp as a player: its batch API, used as its own server uses it with parallel slots.

llama-cpp-python's HTTP server takes one request at a time, so it isn't what is measured. All
sequences share each `llama_decode`: whole prompts of those that have just come, one token of the
others; the next token is the likeliest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from benchmarks.local.play import Played, Player, Stream, serve

#: What llama.cpp's server has by default, in tokens.
_BATCH = 2048
_PHYSICAL_BATCH = 512
_PADDING = 256


class Llama:
    """A loaded GGUF. Each job has a context of its own, just as large as it needs."""

    def __init__(self, gguf: str, threads: int) -> None:
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(gguf.encode(), params)
        if not self._model:
            raise SystemExit(f"llama.cpp can't load {gguf}")
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._shape = (llama_cpp.llama_vocab_n_tokens(vocabulary),)
        self._threads = threads

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        """See `Player`; making the context isn't a part of the job's time."""
        context = self._context(streams)
        batch = llama_cpp.llama_batch_init(_BATCH, 0, len(streams))
        try:
            return _Job(context, batch, streams, self._shape).run()
        finally:
            llama_cpp.llama_batch_free(batch)
            llama_cpp.llama_free(context)

    def _context(self, streams: Sequence[Stream]) -> Any:
        sizes = [-(-(len(one.prompt) + one.tokens) // _PADDING) * _PADDING for one in streams]
        params = llama_cpp.llama_context_default_params()
        # Its quicker way where all are about as long: a part of the cache for each sequence.
        params.kv_unified = max(sizes) > 2 * min(sizes)
        params.n_ctx = sum(sizes) if params.kv_unified else max(sizes) * len(sizes)
        params.n_seq_max = len(streams)
        params.n_threads = params.n_threads_batch = self._threads
        params.n_batch, params.n_ubatch = _BATCH, _PHYSICAL_BATCH
        return llama_cpp.llama_init_from_model(self._model, params)


class _Job:
    def __init__(
        self, context: Any, batch: Any, streams: Sequence[Stream], shape: tuple[int]
    ) -> None:
        self._context = context
        self._batch = batch
        self._streams = streams
        self._shape = shape
        self._played = [Played() for _ in streams]
        self._pending = [list(one.prompt) for one in streams]
        self._lengths = [0] * len(streams)

    def run(self) -> list[Played]:
        began_s = time.perf_counter()
        while left := [
            number
            for number, one in enumerate(self._streams)
            if self._played[number].tokens < one.tokens
        ]:
            now_s = time.perf_counter() - began_s
            rows = self._fill([one for one in left if self._streams[one].after_s <= now_s])
            if llama_cpp.llama_decode(self._context, self._batch):
                raise SystemExit("llama_decode failed")
            chosen = [self._likeliest(row) for row in rows.values()]
            now_s = time.perf_counter() - began_s
            for number, token in zip(rows, chosen, strict=True):
                self._pending[number] = [token]
                self._played[number].tokens += 1
                self._played[number].stamps_s.append(now_s)
        return self._played

    def _fill(self, numbers: Sequence[int]) -> dict[int, int]:
        """Put what is to be read into the batch; by stream, the row that gives its logits."""
        batch, rows, size = self._batch, {}, 0
        for number in sorted(numbers, key=lambda one: len(self._pending[one])):
            taken = self._pending[number][: _BATCH - size]
            self._pending[number] = self._pending[number][len(taken) :]
            for token in taken:
                batch.token[size] = token
                batch.pos[size] = self._lengths[number]
                batch.n_seq_id[size] = 1
                batch.seq_id[size][0] = number
                batch.logits[size] = 0
                self._lengths[number] += 1
                size += 1
            if taken and not self._pending[number]:
                batch.logits[size - 1] = 1
                rows[number] = size - 1
        batch.n_tokens = size
        return rows

    def _likeliest(self, row: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, shape=self._shape).argmax())


def main() -> None:
    """Play until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()

    def load() -> Player:
        return Llama(options.weights, options.threads).play

    serve(load)


if __name__ == "__main__":
    main()
