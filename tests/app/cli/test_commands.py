"""The commands that people type, run as they are typed."""

import gzip
import json
from pathlib import Path

import yaml

from tests.backends.local.families import make_model
from tests.backends.local.lora import make_adapter
from tests.gateway_process import run_cli

QUIET = {"OPENAI_API_KEY": "", "GATEWAY_API_KEYS": "", "COLUMNS": "200"}


def test_check_prints_the_resolved_routes(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("ledger: {url: 'postgresql://me:hidden@host/db'}")
    told = run_cli("check", "--config", config, env=QUIET)
    assert "smollm2" in told
    assert "OPENAI_API_KEY is not set" in told
    assert "auto:quality" in told
    assert "genai-prices:openai/gpt-4o" in told
    assert "hidden" not in told


def test_check_refuses_what_serve_would_refuse(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("server: {host: 0.0.0.0}")
    assert "0.0.0.0 is refused" in run_cli("check", "--config", config, env=QUIET, status=2)


def test_route_explains_itself_to_people() -> None:
    told = run_cli("route", "Prove that √2 is irrational.", env={**QUIET, "OPENAI_API_KEY": "x"})
    assert "large" in told
    assert "gpt-4o" in told
    assert "concepts.proof" in told
    assert "margin" in told


def test_route_refuses_unknown_names() -> None:
    told = run_cli("route", "Hi", "--model", "absent", env=QUIET, status=1)
    assert "'absent' does not exist" in told


def test_score_keeps_the_order(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl"
    rows = [
        {"prompt_id": "easy", "prompt": "What is the capital of Peru?"},
        {"prompt_id": "hard", "messages": [{"role": "user", "content": "Prove Zorn's lemma."}]},
        {"prompt_id": "again", "prompt": "What is the capital of Peru?"},
    ]
    with gzip.open(source, "wt") as lines:
        lines.write("\n".join(map(json.dumps, rows)))
    run_cli("score", "--input", source, "--output", output)
    scored = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["prompt_id"] for row in scored] == ["easy", "hard", "again"]
    assert scored[0]["score"] == scored[2]["score"] < 0.5 < scored[1]["score"]


def test_score_names_the_bad_line(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt_id": 1, "prompt": "x"}\n{"prompt": "no id"}\n')
    told = run_cli("score", "--input", source, "--output", tmp_path / "out.jsonl", status=1)
    assert "line 2" in told


def test_models_lists_what_was_pulled() -> None:
    told = run_cli("models", env=QUIET)
    assert "smollm2-135m-instruct" in told
    assert "8,192" in told
    assert "llama 134.5M" in told
    assert "chat, template, no tools" in told


def test_models_lists_adapters_and_folders_elsewhere(tmp_path: Path) -> None:
    base = make_model("smollm2", tmp_path / "mine")
    models = tmp_path / "models"
    make_adapter(models / "org--poet", base, seed=1)
    config = tmp_path / "gateway.yaml"
    entry = {"name": "mine", "tier": "small", "backend": "local", "model": str(base)}
    config.write_text(
        yaml.safe_dump(
            {
                "models": {"dir": str(models)},
                "deployments": [{**entry, "adapters": {"poet": "org/poet", "lost": "org/lost"}}],
            }
        )
    )
    told = run_cli("models", "--config", config, env=QUIET)
    assert "mine" in told
    assert f"adapter, trained for {base}; fits mine" in told
    # What is missing is named with the command that fetches it.
    told = run_cli("check", "--config", config, env={**QUIET, "COLUMNS": "400"})
    assert "the adapter org/lost is not on this machine: run `slm-gateway pull org/lost`" in told


def test_pull_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    told = run_cli("pull", tmp_path, env=QUIET, status=1)
    assert told.startswith(f"{tmp_path} can't be used: its weights are in pytorch_model.bin alone")
    assert told.count("\n") == 1


def test_train_refuses_a_folder_without_tables(tmp_path: Path) -> None:
    told = run_cli("train", "--data", tmp_path, "--output", tmp_path / "r.json.gz", status=1)
    assert "no outcome tables" in told


def test_chat_says_when_no_gateway_answers() -> None:
    told = run_cli("chat", "-m", "hi", "--url", "http://127.0.0.1:9", status=1, env=QUIET)
    assert "slm-gateway serve" in told
