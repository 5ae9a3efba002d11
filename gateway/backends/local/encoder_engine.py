"""The encoder's engine: requests in, batches of their texts through the network, vectors out."""

from __future__ import annotations

import base64
import collections
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import orjson

from gateway.backends.local.encoder import Encoder
from gateway.backends.local.submission import EncodeJob, Event, error_event
from gateway.core.errors import InvalidRequest

_log = logging.getLogger(__name__)

#: The largest batch: texts, and tokens with the padding.
MOST_TEXTS = 64
MOST_TOKENS = 4096


class EncoderEngine:
    """One thread tokenises, another encodes; `submit` may be called from any thread.

    A batch takes the requests in turns, so that a short one needn't wait for a long one's end.
    """

    def __init__(self, encoder: Encoder, *, most_inside: int) -> None:
        """At most `most_inside` requests are in progress or wait."""
        self._encoder = encoder
        self._most_inside = most_inside
        self._inside = 0
        self._turns: collections.deque[EncodeJob] = collections.deque()
        self._changed = threading.Condition()
        self._tokenising = ThreadPoolExecutor(1, "tokenise")
        threading.Thread(target=self._run, name="encode", daemon=True).start()

    def submit(self, job: EncodeJob) -> None:
        """Take a request, or refuse it at once with an `error` event when there are too many."""
        with self._changed:
            is_full = self._inside >= self._most_inside
            self._inside += not is_full
        if is_full:
            job.emit(error_event("queue_full", "The local encoder's queue is full."))
        else:
            self._tokenising.submit(self._prepare, job)

    def load(self) -> dict[str, int]:
        """How many requests have texts left to encode, and how many others are in progress."""
        with self._changed:
            active = len(self._turns)
            return {"active": active, "waiting": self._inside - active}

    def _prepare(self, job: EncodeJob) -> None:
        if job.cancelled.is_set():
            self._leave()
            return
        try:
            encoded = self._encoder.encode(job.texts)
        except InvalidRequest as error:
            code = error.code or "invalid_request"
            self._end(job, {**error_event(code, error.message), "param": error.param})
        except BaseException:  # a panic of a library in Rust is no Exception
            _log.exception("texts could not be tokenised")
            self._end(
                job, error_event("engine_failed", "The local encoder could not read the texts.")
            )
        else:
            job.vectors = [""] * len(encoded)
            job.tokens = sum(map(len, encoded))
            job.left = sorted(enumerate(encoded), key=lambda one: len(one[1]))
            with self._changed:
                self._turns.append(job)
                self._changed.notify()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            try:
                self._encode(batch)
            except BaseException:
                _log.exception("a batch could not be encoded")
                failed = {id(job): job for job, _, _ in batch}
                for job in failed.values():
                    said = "The local encoder failed; its log says why."
                    self._end(job, error_event("engine_failed", said))

    def _next_batch(self) -> list[tuple[EncodeJob, int, list[int]]]:
        """One text of each request in turn until the batch is full; waits for the first."""
        batch: list[tuple[EncodeJob, int, list[int]]] = []
        longest = 0
        with self._changed:
            while not batch:
                while self._turns and len(batch) < MOST_TEXTS:
                    job = self._turns[0]
                    if job.cancelled.is_set():
                        self._turns.popleft()
                        self._inside -= 1
                        continue
                    longest = max(longest, len(job.left[-1][1]))
                    if batch and longest * (len(batch) + 1) > MOST_TOKENS:
                        break
                    batch.append((job, *job.left.pop()))
                    self._turns.popleft()
                    if job.left:
                        self._turns.append(job)
                if not batch:
                    self._changed.wait()
        return batch

    def _encode(self, batch: Sequence[tuple[EncodeJob, int, list[int]]]) -> None:
        started_s = time.perf_counter()
        vectors = self._encoder.embed([ids for _, _, ids in batch])
        took_s = time.perf_counter() - started_s
        tokens = sum(len(ids) for _, _, ids in batch)
        for (job, index, ids), vector in zip(batch, vectors, strict=True):
            job.vectors[index] = _written(vector, as_base64=job.as_base64)
            job.compute_s += took_s * len(ids) / tokens
        for job in {id(job): job for job, _, _ in batch}.values():
            if not job.left and all(job.vectors):
                self._end(job, _ended(job))

    def _end(self, job: EncodeJob, event: Event) -> None:
        """Free the request's place, and only then tell: whoever hears of it may look at once."""
        with self._changed:
            self._inside -= 1
            self._turns = collections.deque(one for one in self._turns if one is not job)
        job.emit(event)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1


def _written(vector: npt.NDArray[np.float32], *, as_base64: bool) -> str:
    """Little-endian float32 in base64, or a JSON array."""
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers = np.ascontiguousarray(vector, dtype=np.float32)
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _ended(job: EncodeJob) -> Event:
    return {
        "type": "end",
        "vectors": job.vectors,
        "prompt_tokens": job.tokens,
        "completion_tokens": 0,
        "compute_s": job.compute_s,
    }
