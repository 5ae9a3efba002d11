"""Each family's true architecture, tiny: the engine says token for token what transformers says."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from gateway.backends.local.engine import Engine
from gateway.backends.local.folder import read_json
from gateway.backends.local.load import LoadedModel, load
from gateway.backends.local.network.generic import plain_steps
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission
from gateway.backends.local.tokens import ChatTokenizer
from gateway.core.errors import InvalidRequest
from tests.backends.local.families import FAMILIES, make_model
from tests.backends.local.lora import make_adapter

NEW_TOKENS = 16
#: Long enough to leave every sliding window behind, and to pass from a short rope to a long one.
LONG = "The small model answers what it can, and the large one takes the rest. " * 5
PROMPTS = (
    "a",
    "What is the capital of France?",
    LONG,
    LONG + "But who counts the cents?",  # begins as the one before it
    "(12, 345)",
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """Networks this small only lose time by more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def made(name: str, folders: Path) -> Path:
    folder = folders / name
    return folder if folder.exists() else make_model(name, folder)


def answers_of(
    model: LoadedModel, prompts: tuple[str, ...], adapters: Sequence[str | None] = ()
) -> list[tuple[str, int]]:
    """What the engine says to all of them at once: each text, and how many tokens it has."""
    engine = Engine(model, max_concurrent=4, max_queue=len(prompts))
    asked = {"temperature": 0.0, "max_tokens": NEW_TOKENS}
    told: list[queue.Queue[Event]] = [queue.Queue() for _ in prompts]
    named = adapters or [None] * len(prompts)
    for prompt, adapter, events in zip(prompts, named, told, strict=True):
        engine.submit(Submission([], asked, events.put, prompt=prompt, adapter=adapter))
    return [_answer(events) for events in told]


def _answer(events: queue.Queue[Event]) -> tuple[str, int]:
    text = ""
    while (event := events.get(timeout=60))["type"] not in LAST_EVENTS:
        text += event.get("text", "")
    assert event["type"] == "end", event
    return text, event["completion_tokens"]


class Reference:
    """What transformers says."""

    def __init__(self, folder: Path, **config: Any) -> None:
        """`config` are keys of the model's configuration that are to be otherwise."""
        # The plain attention: a faster one leaves out what it can't do, such as soft caps.
        with plain_steps(read_json(folder / "config.json")):
            self._network = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager", **config
            ).eval()

    def add(self, name: str, change: torch.Tensor) -> None:
        """Change a weight by so much."""
        weight = self._network.get_parameter(name)
        weight.data += change.T if weight.shape != change.shape else change

    def tokens(self, model: LoadedModel, prompt: str) -> list[int]:
        """Its greedy answer, without the token that ends it."""
        ids = model.tokenizer.plain(prompt)
        with torch.inference_mode():
            output = self._network.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=sorted(model.end_tokens),
                pad_token_id=0,
            )
        tokens: list[int] = output[0, len(ids) :].tolist()
        return tokens[:-1] if tokens[-1] in model.end_tokens else tokens

    def answers(self, model: LoadedModel) -> list[tuple[str, int]]:
        each = [self.tokens(model, prompt) for prompt in PROMPTS]
        return [(model.tokenizer.decode(tokens), len(tokens)) for tokens in each]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_engine_says_what_transformers_says(name: str, folders: Path) -> None:
    folder = made(name, folders)
    model = load(folder, "float32")
    expected = Reference(folder).answers(model)
    assert answers_of(model, PROMPTS) == expected
    # A network that said the same to everything would prove nothing.
    assert len({text for text, _ in expected}) == len(PROMPTS)
    assert model.context_window == (512 if name == "gpt-2" else 1024)


@pytest.mark.parametrize("name", [name for name, one in FAMILIES.items() if one.template])
def test_a_conversation_is_written_as_the_model_learnt_it(name: str, folders: Path) -> None:
    folder = made(name, folders)
    tokenizer = ChatTokenizer.of_folder(folder)
    assert tokenizer is not None
    turns = [
        {"role": "user", "content": "What is 12 + 345?"},
        {"role": "assistant", "content": "357"},
        {"role": "user", "content": "And (6 + 7)?"},
    ]
    theirs = PreTrainedTokenizerFast.from_pretrained(folder).apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.encode(turns) == theirs


def test_a_model_without_a_template_reads_roles_and_blank_lines(folders: Path) -> None:
    tokenizer = ChatTokenizer.of_folder(made("gpt-2", folders))
    assert tokenizer is not None
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    said = tokenizer.decode(tokenizer.encode(turns))
    assert said == "System: Be brief.\n\nUser: Hello\n\nAssistant:"


@pytest.mark.parametrize("name", ["gemma-2", "h2o-danube3"])
def test_a_template_without_system_messages_says_so(name: str, folders: Path) -> None:
    tokenizer = ChatTokenizer.of_folder(made(name, folders))
    assert tokenizer is not None
    with pytest.raises(InvalidRequest, match="System role not supported"):
        tokenizer.encode([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])


CHANGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sliding window": ("mathstral", {"sliding_window": None}),
    "alternating windows": ("gemma-2", {"layer_types": ["sliding_attention"] * 4}),
    "attention soft caps": ("gemma-2", {"attn_logit_softcapping": None}),
    "phi-3 window": ("phi-3", {"sliding_window": None}),
    "experts' weights": ("qwen2-moe", {"norm_topk_prob": True}),
    "rope scaling": (
        "llama-3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    ),
    "long rope": (
        "phi-3-longrope",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_family_has_of_its_own_shows_in_the_answers(what: str, folders: Path) -> None:
    """Otherwise the comparison above would hold without it too."""
    name, config = CHANGES[what]
    folder = made(name, folders)
    model = load(folder, "float32")
    assert Reference(folder, **config).answers(model) != Reference(folder).answers(model)


@pytest.mark.parametrize("name", ["smollm2", "mistral-nemo", "phi-3", "gemma-2", "gpt-2"])
def test_adapters_answer_as_merged_weights_do(name: str, folders: Path, tmp_path: Path) -> None:
    base = made(name, folders)
    targets = ("c_attn",) if name == "gpt-2" else ("q_proj", "v_proj", "qkv_proj", "down_proj")
    is_turned = name == "gpt-2"
    paths = {
        one: make_adapter(
            tmp_path / one, base, seed=seed, targets=targets, fan_in_fan_out=is_turned
        )
        for seed, one in enumerate(("first", "second"))
    }
    model = load(base, "float32", paths)
    expected = {one: merged(base, path).answers(model) for one, path in paths.items()}
    plain = Reference(base).answers(model)
    said = answers_of(model, PROMPTS * 3, [None] * 5 + ["first"] * 5 + ["second"] * 5)
    assert said == [*plain, *expected["first"], *expected["second"]]
    assert plain != expected["first"] != expected["second"]


def merged(base: Path, adapter: Path) -> Reference:
    """A model whose weights have taken the adapter in."""
    reference = Reference(base)
    tensors = load_file(adapter / "adapter_model.safetensors")
    for key, a in tensors.items():
        if ".lora_A." in key:
            b = tensors[key.replace("lora_A", "lora_B")]
            name = key.removeprefix("base_model.model.").replace("lora_A.", "")
            reference.add(name, 2 * b @ a)
    return reference
