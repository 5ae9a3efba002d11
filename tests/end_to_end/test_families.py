"""Models from local folders through a real gateway: one with its own template, one with none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.backends.local.families import make_model
from tests.gateway_process import RunningGateway, running_gateway

QUESTION = "What is 12 + 345?"
#: How the gateway writes a conversation for a model that has no template: README says so.
PLAIN = f"User: {QUESTION}\n\nAssistant:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[RunningGateway]:
    """Both models, each named by its folder, each with a thread of its own."""
    deployments = [
        {
            "name": name,
            "tier": "small",
            "backend": "local",
            "model": str(make_model(name, folder / name)),
            "threads": 1,
            "dtype": "float32",
            "price": {"usd_per_hour": 0.08},
        }
        for name in ("qwen2", "gpt-2")
    ]
    with running_gateway(folder, {"deployments": deployments}) as gateway:
        yield gateway


@pytest.mark.parametrize("name", ["qwen2", "gpt-2"])
def test_a_folder_answers_as_transformers_does(
    name: str, gateway: RunningGateway, folder: Path
) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / name)
    network = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
    if tokenizer.chat_template is None:
        asked = tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
    else:
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
    output = network.generate(
        torch.tensor([asked]),
        attention_mask=torch.ones(1, len(asked), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=0,
    )
    expected = tokenizer.decode(output[0, len(asked) :], skip_special_tokens=True)
    with OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model=name, messages=messages, max_tokens=12, temperature=0
        )
    assert answer.choices[0].message.content == expected
    assert answer.model == name
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(asked)
    (row,) = gateway.ledger_rows(1, deployment=name)
    assert (row["outcome"], row["model_served"]) == ("ok", name)
