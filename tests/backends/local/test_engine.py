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
from gateway.backends.local.network.slots import Slot
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
            raise RuntimeError("odd number of bytes at 0x7f")
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
    assert "odd number" not in long["message"]
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


class Panic(BaseException):
    """As a library in Rust raises: no Exception."""


def panicking(*_: Any) -> Any:
    raise Panic("called `Option::unwrap()` on a `None` value")


@pytest.mark.parametrize(
    ("owner", "method"),
    [("tokenizer", "plain"), ("tokenizer", "decode"), ("network", "step"), ("network", "memory")],
)
def test_a_panic_fails_one_request_and_the_next_is_answered(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, owner: str, method: str
) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    with monkeypatch.context() as patched:
        patched.setattr(getattr(model, owner), method, panicking)
        failed = ask(engine, SHORT)
        told = last_of(failed)
        assert (told["type"], told["code"]) == ("error", "engine_failed")
        assert "unwrap" not in told["message"]
    assert last_of(ask(engine, SHORT))["type"] == "end"
    assert failed.empty()
    assert engine.load() == {"active": 0, "waiting": 0}


def test_a_request_without_a_place_fails_alone(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    with monkeypatch.context() as patched:
        going = ask(engine, LONG, asked={"max_tokens": 200})
        going.get(timeout=60)
        patched.setattr(model.network, "memory", panicking)
        assert last_of(ask(engine, SHORT))["code"] == "engine_failed"
    assert last_of(going)["type"] == "end"
    assert engine.load() == {"active": 0, "waiting": 0}


def cached(engine: Engine, prompt: str, **fields: Any) -> int:
    tokens: int = last_of(ask(engine, prompt, **fields))["cached_tokens"]
    return tokens


def test_a_prompt_is_no_other_callers_to_know(model: LoadedModel) -> None:
    engine = Engine(model, max_concurrent=4, max_queue=4)
    assert [cached(engine, LONG, caller=who) > 0 for who in ("a", "b", "a", None)] == [
        False,
        False,
        True,
        False,
    ]
    # Not while it is read or answered either.
    at_once = [ask(engine, f"1 {LONG}", caller=who) for who in "abc"]
    assert [last_of(events)["cached_tokens"] for events in at_once] == [0, 0, 0]
    shared = Engine(model, max_concurrent=4, max_queue=4, shares_prompts=True)
    assert [cached(shared, LONG, caller=who) > 0 for who in "ab"] == [False, True]


#: The cache of `tight`, in tokens.
ROOM = 640
TEN = "one two three four five six seven eight nine ten "


def tight(model: LoadedModel) -> Engine:
    assert cache_tokens(model, 1) == ROOM
    return Engine(model, max_concurrent=8, max_queue=20, kv_cache_mb=1)


def test_of_a_long_conversation_what_half_the_cache_holds_is_reused(model: LoadedModel) -> None:
    engine = tight(model)
    assert last_of(ask(engine, TEN * 10))["prompt_tokens"] > ROOM // 2 + 64 - 8
    assert cached(engine, TEN * 10) == ROOM // 2


def test_what_is_about_to_be_reused_is_not_dropped_to_make_room_for_it(model: LoadedModel) -> None:
    engine = tight(model)
    first = last_of(ask(engine, TEN * 8))["prompt_tokens"]
    assert 256 < first < 320
    # The rest of the cache is too little for a second copy.
    assert cached(engine, TEN * 8, asked={"max_tokens": ROOM - 64 - first}) == 256


def test_choices_of_one_prompt_keep_it_once(model: LoadedModel) -> None:
    engine = tight(model)
    other = "zero " * 30
    assert 64 < last_of(ask(engine, other))["prompt_tokens"] < 128
    ends = last_of(ask(engine, TEN * 5, n=2, asked={"temperature": 1.0, "seed": 1}))
    assert ends["prompt_tokens"] + 4 >= 192
    assert cached(engine, other) == 64


def test_where_memory_does_not_suffice_to_keep_a_prompt_it_is_read_again(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Slot, "kept", kept)
    engine = Engine(model, max_concurrent=2, max_queue=40)
    asked = [ask(engine, f"{number} {LONG}") for number in range(20)]
    assert [last_of(events)["type"] for events in asked] == ["end"] * 20
    assert engine.load() == {"active": 0, "waiting": 0}


def test_a_failure_while_failures_are_told_is_no_end_of_the_engine(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = Slot.release, iter(range(3))

    def release(slot: Slot) -> None:
        if next(failures, None) is not None:
            raise OSError("no such memory")
        real(slot)

    engine = Engine(model, max_concurrent=4, max_queue=8)
    monkeypatch.setattr(Slot, "release", release)
    asked = [ask(engine, f"{number} {LONG}") for number in range(6)]
    assert {last_of(events)["type"] for events in asked} == {"error", "end"}
    assert last_of(ask(engine, SHORT))["type"] == "end"
    assert engine.load() == {"active": 0, "waiting": 0}
