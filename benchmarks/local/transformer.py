"""transformers as a player: `generate`, one request after another, or its continuous batching."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
)
from transformers.generation.streamers import BaseStreamer

from benchmarks.local.play import Played, Player, Stream, serve

#: The cache of continuous batching: pages of 256 tokens. A short sequence takes one, a long one 7.
_PAGES = 40
_PAGES_A_REQUEST = 8
_MOST_REQUESTS = 16
_BATCH_TOKENS = 2048


class _Stamps(BaseStreamer):  # type: ignore[misc]
    """Told of the prompt first, then of each token."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._is_prompt = True
        self.played = Played()

    def put(self, value: Any) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        self.played.tokens += 1
        self.played.stamps_s.append(time.perf_counter() - self._began_s)

    def end(self) -> None:
        pass


class OneByOne:
    """Each request waits for the one before it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        """See `Player`."""
        began_s, found = time.perf_counter(), []
        for one in streams:
            stamps = _Stamps(began_s)
            ids = torch.tensor([one.prompt])
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=_greedy(one.tokens),
                streamer=stamps,
            )
            found.append(stamps.played)
        return found


class Continuous:
    """`generate_batch`, its manager kept from one job to the next."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def play(self, streams: Sequence[Stream]) -> list[Played]:
        """See `Player`; all streams of a job want as many tokens."""
        # All sizes are stated: else the manager's are those of its first job.
        config = ContinuousBatchingConfig(
            num_blocks=_PAGES,
            max_blocks_per_request=_PAGES_A_REQUEST,
            max_requests_per_batch=_MOST_REQUESTS,
            max_batch_tokens=_BATCH_TOKENS,
        )
        began_s = time.perf_counter()
        answers = self._model.generate_batch(
            inputs=[one.prompt for one in streams],
            generation_config=_greedy(streams[0].tokens),
            continuous_batching_config=config,
            record_timestamps=True,
            persistent_manager=True,
        )
        for answer in answers.values():
            if answer.error:
                raise SystemExit(f"continuous batching failed: {answer.error}")
        return [
            Played([stamp - began_s for stamp in one.timestamps], len(one.generated_tokens))
            for one in answers.values()
        ]


def _greedy(tokens: int) -> GenerationConfig:
    # No token has the number -1: nothing ends an answer before its length.
    return GenerationConfig(
        max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0, use_cache=True
    )


def main() -> None:
    """Play until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--continuous", action="store_true")
    options = parser.parse_args()

    def load() -> Player:
        torch.set_num_threads(options.threads)
        model = AutoModelForCausalLM.from_pretrained(options.weights, dtype=torch.float32).eval()
        return (Continuous if options.continuous else OneByOne)(model).play

    serve(load)


if __name__ == "__main__":
    main()
