"""The sentence encoder against a plain forward pass of the same weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from gateway.backends.local.encoder import Encoder
from gateway.core.errors import ContextTooLong

TEXTS = [
    "A cat sits on the mat.",
    "On the mat there is a sitting cat.",
    "Quarterly revenue grew by nine percent.",
    "Größe, naïve café, 東京 🗼",
    " ",
    "word " * 200,
]


@pytest.fixture(scope="module")
def encoder(encoder_folder: Path) -> Encoder:
    return Encoder.of_folder(encoder_folder)


def test_vectors_are_those_of_a_plain_forward_pass(encoder: Encoder, encoder_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder, local_files_only=True)
    network = AutoModel.from_pretrained(encoder_folder, local_files_only=True).eval()
    vectors = encoder.embed(encoder.encode(TEXTS))
    assert vectors.shape == (len(TEXTS), 384)
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.inference_mode():
            states = network(**tokenizer(text, return_tensors="pt"))[0][0]
        expected = states.mean(0) / states.mean(0).norm()
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_a_batch_changes_no_vector(encoder: Encoder) -> None:
    encoded = encoder.encode(TEXTS)
    together = encoder.embed(encoded)
    for ids, vector in zip(encoded, together, strict=True):
        np.testing.assert_allclose(encoder.embed([ids])[0], vector, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_paraphrase_is_nearer_than_another_subject(encoder: Encoder) -> None:
    cat, paraphrase, revenue, *_ = encoder.embed(encoder.encode(TEXTS))
    assert cat @ paraphrase > 0.7
    assert cat @ revenue < 0.2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a " * 511, "takes 513 tokens"),
        ("a " * 100_000, "takes more than 512 tokens"),
        ("x" * 20_000 + " a" * 100_000, "takes more than 512 tokens"),
    ],
)
def test_a_text_that_is_too_long_is_named_and_never_cut(
    encoder: Encoder, text: str, told: str
) -> None:
    with pytest.raises(ContextTooLong, match=f"index 1 of 'input' {told}") as refused:
        encoder.encode(["short", text])
    assert refused.value.param == "input"


def test_the_longest_text_is_read_to_its_end(encoder: Encoder) -> None:
    one, other = encoder.encode(["a " * 509 + end for end in ("cat", "revenue")])
    assert len(one) == len(other) == encoder.most_tokens == 512
    vectors = encoder.embed([one, other])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_many_characters_may_be_few_tokens(encoder: Encoder) -> None:
    assert len(encoder.encode(["x" * 50_000])[0]) < 10  # one unknown word


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "Dense"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
    ],
)
def test_a_model_that_pools_otherwise_is_refused(
    encoder_folder: Path, tmp_path: Path, file: str, content: object, told: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(encoder_folder, folder)
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        Encoder.of_folder(folder)


def test_the_first_token_may_stand_for_the_text(
    encoder: Encoder, encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(encoder_folder, folder)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    first = Encoder.of_folder(folder)
    ids = first.encode(TEXTS[:1])
    with torch.inference_mode():
        state = first.network(input_ids=torch.tensor(ids))[0][0, 0]
    np.testing.assert_allclose(first.embed(ids)[0], (state / state.norm()).numpy(), atol=1e-5)
    assert np.abs(first.embed(ids) - encoder.embed(ids)).max() > 1e-2
