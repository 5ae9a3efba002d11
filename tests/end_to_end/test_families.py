"""Models from local folders through a real gateway: one with its own template, one with none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from openai import OpenAI
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.backends.local.families import make_model
from tests.backends.local.lora import make_adapter, write_config
from tests.gateway_process import RunningGateway, run_cli, running_gateway

QUESTION = "What is 12 + 345?"
#: How the gateway writes a conversation for a model that has no template: README says so.
PLAIN = f"User: {QUESTION}\n\nAssistant:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[RunningGateway]:
    """Both models, each named by its folder, each with a thread of its own."""
    deployments: list[dict[str, Any]] = [
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
    base = folder / "qwen2"
    deployments[0]["adapters"] = {
        "lawyer": str(make_adapter(folder / "adapter-1", base, seed=1)),
        "doctor": str(make_adapter(folder / "adapter-2", base, seed=2)),
    }
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


def test_an_adapter_answers_under_its_own_name(gateway: RunningGateway) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    names = ("qwen2", "lawyer", "doctor")
    with OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0) as client:
        assert set(names) <= {model.id for model in client.models.list()}
        answers = [
            client.chat.completions.create(
                model=name, messages=messages, max_tokens=12, temperature=0
            )
            for name in names
        ]
    assert tuple(answer.model for answer in answers) == names
    assert len({answer.choices[0].message.content for answer in answers}) == len(names)
    for name in names[1:]:
        (row,) = gateway.ledger_rows(1, model_served=name)
        # Price and tier are the deployment's.
        assert (row["deployment"], row["tier"], row["outcome"]) == ("qwen2", "small", "ok")
        assert row["cost_usd"] is not None


def test_an_adapter_that_does_not_fit_is_refused_at_start(folder: Path, tmp_path: Path) -> None:
    base = make_model("solar", tmp_path / "solar")
    adapter = make_adapter(tmp_path / "adapter", base, seed=1)
    write_config(adapter, base, r=64)
    entry = {"name": "solar", "tier": "small", "backend": "local", "model": str(base)}
    config = tmp_path / "gateway.yaml"
    config.write_text(
        yaml.safe_dump({"deployments": [{**entry, "adapters": {"poet": str(adapter)}}]})
    )
    for command in ("check", "serve"):
        said = run_cli(command, "--config", config, status=2)
        assert "deployments.solar.adapters.poet: the adapter poet" in said
        assert "has rank 4, and adapter_config.json says 64" in said
        assert "Traceback" not in said
