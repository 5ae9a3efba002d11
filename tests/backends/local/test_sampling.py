"""The sampler on small tensors."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backends.local.params import SamplingParams
from gateway.backends.local.sampling import Sampler, drawn_at, nucleus

LOGITS = torch.tensor([1.0, 3.0, 2.0, -1.0])


def draws(params: SamplingParams, logits: torch.Tensor = LOGITS, count: int = 400) -> list[int]:
    sampler = Sampler(params)
    likeliest = int(logits.argmax())
    return [sampler.choose(logits, likeliest) for _ in range(count)]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=0, top_k=3, top_p=0.5, seed=1),
        SamplingParams(temperature=2, top_k=1),
        SamplingParams(temperature=1, top_p=0.01),
        SamplingParams(temperature=1, top_p=0),
        SamplingParams(temperature=1e-9),
    ],
)
def test_what_leaves_only_the_likeliest(params: SamplingParams) -> None:
    assert set(draws(params)) == {1}


def test_temperature_1_follows_the_probabilities() -> None:
    drawn = Counter(draws(SamplingParams(seed=3), count=4000))
    for token, probability in enumerate(LOGITS.softmax(-1).tolist()):
        assert drawn[token] / 4000 == pytest.approx(probability, abs=0.03)


def test_a_high_temperature_evens_out() -> None:
    drawn = Counter(draws(SamplingParams(temperature=2, seed=3), count=4000))
    for token, probability in enumerate((LOGITS / 2).softmax(-1).tolist()):
        assert drawn[token] / 4000 == pytest.approx(probability, abs=0.03)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(top_k=2, seed=1), {1, 2}),
        (SamplingParams(top_k=0, seed=1), {0, 1, 2, 3}),
        (SamplingParams(top_k=99, seed=1), {0, 1, 2, 3}),
        # The probabilities are .66 .24 .09 .01: what holds .7 of them is the first two.
        (SamplingParams(top_p=0.7, seed=1), {1, 2}),
        (SamplingParams(top_p=0.95, seed=1), {0, 1, 2}),
        (SamplingParams(top_k=3, top_p=0.7, seed=1), {1, 2}),
    ],
)
def test_what_is_kept(params: SamplingParams, kept: set[int]) -> None:
    assert set(draws(params, count=2000)) == kept


def test_the_same_seed_draws_the_same() -> None:
    assert draws(SamplingParams(seed=5)) == draws(SamplingParams(seed=5))
    assert draws(SamplingParams(seed=5)) != draws(SamplingParams(seed=6))
    assert draws(SamplingParams()) != draws(SamplingParams())


@pytest.mark.parametrize("seed", [-1, 2**63, -(2**63), 2**64 - 1])
def test_any_json_integer_is_a_seed(seed: int) -> None:
    assert draws(SamplingParams(seed=seed)) == draws(SamplingParams(seed=seed))


def test_presence_counts_a_token_once() -> None:
    # 3.0 - 1.5 = 1.5 puts token 1 behind token 2, and then 2.0 - 1.5 = 0.5 token 2 behind both.
    assert draws(SamplingParams(temperature=0, presence_penalty=1.5), count=5) == [1, 2, 1, 1, 1]


def test_frequency_counts_every_time() -> None:
    params = SamplingParams(temperature=0, frequency_penalty=0.75)
    # Token 1 falls from 3 to 2.25 to 1.5, token 2 then from 2 to 1.25, and so on.
    assert draws(params, count=6) == [1, 1, 2, 1, 2, 0]


def test_a_negative_penalty_repeats() -> None:
    close = torch.tensor([1.0, 1.1])
    params = SamplingParams(temperature=1, presence_penalty=-2, frequency_penalty=-2, seed=1)
    assert len(set(draws(params, close, count=100)[10:])) == 1


def test_the_logits_are_left_as_they_are() -> None:
    logits = LOGITS.clone()
    draws(SamplingParams(presence_penalty=1, top_k=2, top_p=0.5), logits, count=5)
    assert torch.equal(logits, LOGITS)


@settings(deadline=None)  # torch's first call takes its time
@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=600),
    st.floats(0, 1),
)
def test_a_nucleus_is_the_fewest_likeliest(logits: list[float], top_p: float) -> None:
    probabilities = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    kept, indices = nucleus(probabilities, top_p)
    assert torch.equal(probabilities[indices], kept)
    dropped = set(range(len(logits))) - set(indices.tolist())
    assert all(probabilities[token] <= kept.min() for token in dropped)
    assert not dropped or kept.sum() >= top_p - 1e-9  # sums of floats
    assert len(kept) == 1 or kept[:-1].sum() < top_p + 1e-9


def test_a_flat_distribution_has_a_nucleus_beyond_the_first_look() -> None:
    flat = torch.full((1000,), 0.001)
    kept, _ = nucleus(flat, 0.5)
    assert 499 <= len(kept) <= 501


@pytest.mark.parametrize("size", [3, 256, 1000])
def test_points_that_lie_evenly_draw_each_as_often_as_it_is_likely(size: int) -> None:
    weights = torch.rand(size, generator=torch.Generator().manual_seed(size))
    weights[size // 2] = 0
    points = 20_000
    counts = torch.zeros(size)
    for number in range(points):
        counts[drawn_at(weights, (number + 0.5) / points)] += 1
    expected = weights / weights.sum() * points
    assert (counts - expected).abs().max() <= 2
    assert counts[size // 2] == 0


@pytest.mark.parametrize("point", [0.0, 0.999999, 1.0])
def test_the_ends_draw_what_is_possible(point: float) -> None:
    weights = torch.zeros(1000)
    weights[[3, 700]] = torch.tensor([0.25, 0.75])
    assert drawn_at(weights, point) == (700 if point == 0 else 3)
    assert drawn_at(torch.tensor([0.0, 1.0]), point) == 1
    assert drawn_at(torch.full((1000,), 0.1), point) < 1000
