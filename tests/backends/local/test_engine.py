"""The engine when a network fails, and when there is little room."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.backends.local.engine import Engine, cache_tokens
from gateway.backends.local.load import LoadedModel, load
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission
from tests.backends.local.families import make_model

SHORT, LONG = "a b c", "one two three four five six seven eight nine ten " * 3


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time by more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return load(make_model("smollm2", tmp_path / "model"), "float32")


def ask(engine: Engine, prompt: str, **fields: Any) -> queue.Queue[Event]:
    events: queue.Queue[Event] = queue.Queue()
    asked = {"temperature": 0.0, "max_tokens": 8, **fields.pop("asked", {})}
    engine.submit(Submission([], asked, events.put, prompt=prompt, **fields))
    return events


def last_of(events: queue.Queue[Event]) -> Event:
    while (event := events.get(timeout=60))["type"] not in LAST_EVENTS:
        pass
    return event


def failing(at: Callable[[int], bool], real: Callable[..., Any]) -> Callable[..., Any]:
    """A step that fails whenever it is asked for a sequence of some length."""

    def step(memories: Sequence[Any], tokens: Sequence[int]) -> Any:
        if any(at(memory.length) for memory in memories):
            raise RuntimeError("out of memory")
        return real(memories, tokens)

    return step


def test_a_failed_step_ends_one_answer_and_the_others_go_on(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = last_of(ask(Engine(model, max_concurrent=4, max_queue=4), SHORT))
    engine = Engine(model, max_concurrent=4, max_queue=4)
    monkeypatch.setattr(model.network, "step", failing(lambda n: n > 40, model.network.step))
    asked = [ask(engine, prompt) for prompt in (SHORT, LONG, SHORT)]
    short, long, other = (last_of(events) for events in asked)
    assert (long["type"], long["code"]) == ("error", "engine_failed")
    assert "out of memory" in long["message"]
    assert short["completion_tokens"] == other["completion_tokens"] == expected["completion_tokens"]
    assert engine.load() == {"active": 0, "waiting": 0}


def test_of_several_choices_one_failure_is_told_once(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    monkeypatch.setattr(model.network, "step", failing(lambda n: n > 40, model.network.step))
    events = ask(engine, LONG, n=3)
    assert last_of(events)["code"] == "engine_failed"
    assert last_of(ask(engine, SHORT))["type"] == "end"
    assert events.empty()


def test_a_failure_outside_of_any_step_ends_what_is_active_and_no_more(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    with monkeypatch.context() as patched:
        patched.setattr(model.network, "step", lambda *_: [])  # too few rows
        assert last_of(ask(engine, SHORT))["code"] == "engine_failed"
    assert last_of(ask(engine, SHORT))["type"] == "end"
    assert engine.load() == {"active": 0, "waiting": 0}


def test_what_would_not_fit_the_cache_waits_or_is_refused(model: LoadedModel) -> None:
    bytes_per_token = model.network.bytes_per_token
    megabytes = -(-bytes_per_token * 256 // 1_000_000)
    tokens = cache_tokens(model, megabytes)
    engine = Engine(model, max_concurrent=8, max_queue=20, kv_cache_mb=megabytes)
    assert engine.context_window == min(tokens, model.context_window)
    half = {"max_tokens": tokens // 2 - 64}
    asked = [ask(engine, SHORT, asked=half) for _ in range(5)]
    assert all(last_of(events)["type"] == "end" for events in asked)
    refused = last_of(ask(engine, SHORT, asked={"max_tokens": tokens // 4}, n=8))
    assert refused["code"] == "context_length_exceeded"
    assert "kv_cache_mb" in refused["message"]


def test_a_cancelled_request_frees_its_place(model: LoadedModel) -> None:
    engine = Engine(model, max_concurrent=1, max_queue=4)
    gone = threading.Event()
    ask(engine, SHORT, asked={"max_tokens": 900, "logit_bias": [["0", -100]]}, cancelled=gone)
    waiting = ask(engine, SHORT)
    gone.set()
    assert last_of(waiting)["type"] == "end"


def test_what_one_choice_read_for_the_others_was_not_cached(model: LoadedModel) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    for number in range(3):  # whichever of the choices has its turn first
        prompt = f"{number} {LONG}"
        last = last_of(ask(engine, prompt, n=2))
        assert last["prompt_tokens"] > 64
        assert last["cached_tokens"] == 0
    assert last_of(ask(engine, prompt, n=2))["cached_tokens"] == last["prompt_tokens"] // 64 * 64


class Stopwatch:
    """Adds up what calls took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*arguments: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - began_s

        return calling

    def exhausted(self, generator: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def generating(*arguments: Any) -> Iterator[Any]:
            began_s = time.perf_counter()
            yield from generator(*arguments)
            self.seconds += time.perf_counter() - began_s

        return generating


@pytest.mark.parametrize("fails", [False, True])
def test_answers_together_are_charged_with_the_time_that_the_engine_was_busy(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    network, busy = Stopwatch(), Stopwatch()
    engine = Engine(model, max_concurrent=8, max_queue=8)
    if fails:  # the batch first, then each alone
        broken = failing(lambda n: n == 12, model.network.step)
        monkeypatch.setattr(model.network, "step", broken)
    for name in ("read", "step"):
        monkeypatch.setattr(model.network, name, network.timed(getattr(model.network, name)))
    batching = engine._batching
    monkeypatch.setattr(batching, "advance", busy.exhausted(batching.advance))
    prompts = ("a", "a b", LONG, SHORT, LONG + SHORT, LONG + LONG, SHORT + LONG, "z")
    asked = [ask(engine, prompt, asked={"max_tokens": 16}) for prompt in prompts]
    last = [last_of(events) for events in asked]
    charged_s = sum(one.get("compute_s", 0) for one in last)
    deadline_s = time.monotonic() + 10
    while busy.seconds < charged_s:  # the last round ends after its answers
        assert time.monotonic() < deadline_s, (charged_s, busy.seconds)
        time.sleep(0.001)
    if fails:
        assert charged_s > 0
    else:
        assert {one["type"] for one in last} == {"end"}
        assert charged_s >= network.seconds
