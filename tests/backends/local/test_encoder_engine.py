"""The encoder's engine: turns, cancellation, a full queue; the real network behind it."""

import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gateway.backends.local.encoder import Encoder
from gateway.backends.local.encoder_engine import MOST_TEXTS, MOST_TOKENS, EncoderEngine
from gateway.backends.local.submission import EncodeJob, Event


class Watched(Encoder):
    """Encodes one batch for each permit, and notes the batches."""

    def embed(self, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        PERMITS.acquire()
        BATCHES.append([len(ids) for ids in batch])
        return super().embed(batch)


PERMITS = threading.Semaphore(0)
BATCHES: list[list[int]] = []


@pytest.fixture(scope="module")
def watched(encoder_folder: Path) -> Encoder:
    return Watched.of_folder(encoder_folder)


@pytest.fixture
def engine(watched: Encoder) -> EncoderEngine:
    BATCHES.clear()
    while PERMITS.acquire(blocking=False):
        pass
    return EncoderEngine(watched, most_inside=3)


def job_of(texts: list[str]) -> tuple[EncodeJob, "queue.Queue[Event]"]:
    events: queue.Queue[Event] = queue.Queue()
    return EncodeJob(texts, as_base64=True, emit=events.put), events


def ended(events: "queue.Queue[Event]") -> dict[str, Any]:
    return events.get(timeout=30)


def test_a_short_request_needn_t_wait_for_a_long_ones_end(engine: EncoderEngine) -> None:
    many, all_of_them = job_of(["text"] * (3 * MOST_TEXTS))
    one, only = job_of(["A single text."])
    engine.submit(many)
    engine.submit(one)
    until_prepared(engine, 1)
    PERMITS.release(2)
    assert ended(only)["type"] == "end"
    assert all_of_them.empty()
    PERMITS.release(9)
    end = ended(all_of_them)
    assert (len(end["vectors"]), end["prompt_tokens"]) == (192, 192 * 3)
    assert all(end["vectors"])
    assert engine.load() == {"active": 0, "waiting": 0}


def test_batches_are_bounded_and_the_order_is_kept(engine: EncoderEngine) -> None:
    texts = [f"{'word ' * (number * 37 % 130)}{number}" for number in range(70)]
    job, events = job_of(texts)
    PERMITS.release(99)
    engine.submit(job)
    vectors = ended(events)["vectors"]
    for batch in BATCHES:
        assert len(batch) <= MOST_TEXTS
        assert len(batch) * max(batch) <= MOST_TOKENS
    for number in (0, 41, 69):
        alone, its_events = job_of([texts[number]])
        engine.submit(alone)
        np.testing.assert_allclose(
            decoded(ended(its_events)["vectors"][0]), decoded(vectors[number]), atol=1e-5
        )


def test_one_that_left_is_not_worked_for(engine: EncoderEngine) -> None:
    job, events = job_of(["text"] * (3 * MOST_TEXTS))
    engine.submit(job)
    until_prepared(engine, 1)
    job.cancelled.set()
    PERMITS.release(9)
    other, its_events = job_of(["Somebody else's."])
    engine.submit(other)
    assert ended(its_events)["type"] == "end"
    assert events.empty()
    assert engine.load() == {"active": 0, "waiting": 0}
    assert sum(map(len, BATCHES)) <= MOST_TEXTS + 1


def test_a_full_queue_and_a_refusal(engine: EncoderEngine) -> None:
    jobs = [job_of([text]) for text in ("one", "two", "word " * 600, "four")]
    for job, _ in jobs[:2]:
        engine.submit(job)
    engine.submit(jobs[2][0])
    refused = ended(jobs[2][1])
    assert (refused["code"], refused["param"]) == ("context_length_exceeded", "input")
    engine.submit(jobs[3][0])
    beyond, events = job_of(["five"])
    engine.submit(beyond)
    assert ended(events)["code"] == "queue_full"
    PERMITS.release(9)
    for number in (0, 1, 3):
        assert ended(jobs[number][1])["type"] == "end"


def test_a_batch_that_fails_fails_its_requests_alone(
    engine: EncoderEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Encoder, batch: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(Watched, "embed", broken)
        job, events = job_of(["x"])
        engine.submit(job)
        assert ended(events)["code"] == "engine_failed"
    PERMITS.release(9)
    job, events = job_of(["x"])
    engine.submit(job)
    assert ended(events)["type"] == "end"
    assert engine.load() == {"active": 0, "waiting": 0}


def until_prepared(engine: EncoderEngine, active: int) -> None:
    """Wait until what was submitted is tokenised, and the first batch is at the network."""
    for _ in range(3000):
        if engine.load()["active"] >= active:
            return
        threading.Event().wait(0.01)
    raise AssertionError(engine.load())


def decoded(vector: str) -> npt.NDArray[np.float32]:
    import base64

    return np.frombuffer(base64.b64decode(vector), dtype="<f4")
