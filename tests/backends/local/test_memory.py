"""An engine whose process may have no more memory: what fails, and what goes on."""

import multiprocessing
import queue
import resource
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from gateway.backends.local.submission import LAST_EVENTS, Event
from tests.backends.local.families import make_model

#: A whole piece of a prompt (256 tokens) takes 64 MB in this network's widest layer.
_WIDE = 32_768
_LEFT_BYTES = 40_000_000


def _run_out_of_memory(folder: str) -> list[Event]:
    """The last events of a long prompt, of a short one beside it, and of one more afterwards."""
    import torch

    from gateway.backends.local.engine import Engine
    from gateway.backends.local.load import load
    from gateway.backends.local.submission import Submission

    torch.set_num_threads(1)
    engine = Engine(load(Path(folder), "float32"), max_concurrent=4, max_queue=4)

    def ask(prompt: str) -> queue.Queue[Event]:
        events: queue.Queue[Event] = queue.Queue()
        asked = {"temperature": 0.0, "max_tokens": 8}
        engine.submit(Submission([], asked, events.put, prompt=prompt))
        return events

    def last_of(events: queue.Queue[Event]) -> Event:
        while (event := events.get(timeout=60))["type"] not in LAST_EVENTS:
            pass
        return event

    last_of(ask("a b c"))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _LEFT_BYTES, resource.RLIM_INFINITY))
    asked = [ask("one two three four five " * 20), ask("a b c")]
    return [*map(last_of, asked), last_of(ask("d e f"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model("smollm2", tmp_path_factory.mktemp("models") / "wide")
    config = AutoConfig.from_pretrained(folder)
    config.intermediate_size = _WIDE
    config.num_hidden_layers = 1
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_a_prompt_that_memory_does_not_suffice_for_fails_alone(folder: Path) -> None:
    # A process of its own: the limit can't be lifted again.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        long, short, later = pool.apply(_run_out_of_memory, (str(folder),))
    assert (long["type"], long["code"]) == ("error", "engine_failed")
    assert "memory" in long["message"]
    assert short["type"] == later["type"] == "end"


def _answer_with_little_address_space(folder: str) -> tuple[int, Event]:
    """The context window that is left, and the end of an answer."""
    import torch

    from gateway.backends.local.engine import Engine
    from gateway.backends.local.load import load
    from gateway.backends.local.submission import Submission

    torch.set_num_threads(1)
    model = load(Path(folder), "float32")
    many = 512
    whole = many * model.context_window * model.network.bytes_per_token
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + whole * 12 // 25, resource.RLIM_INFINITY))
    engine = Engine(model, max_concurrent=many, max_queue=2)
    events: queue.Queue[Event] = queue.Queue()
    asked = {"temperature": 0.0, "max_tokens": 4}
    engine.submit(Submission([], asked, events.put, prompt="a b c"))
    while (event := events.get(timeout=60))["type"] not in LAST_EVENTS:
        pass
    return engine.context_window, event


def test_a_system_that_promises_no_memory_that_it_lacks_leaves_a_shorter_context(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        window, event = pool.apply(_answer_with_little_address_space, (str(folder),))
    assert window == 256
    assert event["type"] == "end"
    assert "they may have 256" in capfd.readouterr().err
