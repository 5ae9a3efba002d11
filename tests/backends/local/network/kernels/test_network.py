"""The kernels beside the same network in torch, and beside themselves."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.kernels.codes import coded
from gateway.backends.local.network.kernels.library import AVX2, AVX512, level, library
from gateway.backends.local.network.kernels.network import KernelNetwork, runs
from gateway.backends.local.network.linear import FloatLinear
from gateway.backends.local.network.llama import Block, LlamaNetwork
from gateway.backends.local.network.low_rank import Matrices
from gateway.backends.local.network.shape import LlamaShape
from tests.backends.local.network.kernels.test_codes import decoded

pytestmark = pytest.mark.skipif(level() == 0, reason="no kernels for this processor")

ALL = tuple(range(1, level() + 1))


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=ALL, ids=[{AVX2: "avx2", AVX512: "avx512"}[one] for one in ALL])
def _kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    assert library().kernels_choose(request.param) == request.param
    yield
    library().kernels_choose(AVX512)


@dataclass(frozen=True)
class Kind:
    heads: int
    key_heads: int
    head_size: int
    feed: int
    vocabulary: int
    has_bias: bool = False
    is_four_bits: bool = False
    is_tied: bool = True


KINDS = (
    Kind(heads=9, key_heads=3, head_size=64, feed=96, vocabulary=200, is_four_bits=True),
    Kind(heads=4, key_heads=4, head_size=16, feed=160, vocabulary=77, is_tied=False),
    Kind(heads=14, key_heads=2, head_size=32, feed=64, vocabulary=130, has_bias=True),
    Kind(heads=2, key_heads=1, head_size=96, feed=32, vocabulary=15, has_bias=True),
    Kind(heads=5, key_heads=1, head_size=128, feed=320, vocabulary=49, is_four_bits=True),
)


def networks(kind: Kind, layers: int = 2) -> tuple[KernelNetwork, LlamaNetwork]:
    """Random weights; torch's network has those that the codes stand for, in float32."""
    made = _made(kind, layers)
    for network in made:
        network.open(6, 640)
    return made


@functools.cache
def _made(kind: Kind, layers: int) -> tuple[KernelNetwork, LlamaNetwork]:
    torch.manual_seed(1)
    hidden, size = 64, kind.head_size
    shape = LlamaShape(
        layers=layers,
        hidden=hidden,
        heads=kind.heads,
        key_heads=kind.key_heads,
        head_size=size,
        epsilon=1e-5,
        is_tied=kind.is_tied,
        frequencies=1 / 10_000 ** (torch.arange(0, size, 2) / size),
    )
    heads = kind.heads * size
    sizes = {"qkv": (heads + 2 * kind.key_heads * size, hidden), "out": (hidden, heads)}
    sizes |= {"gate_up": (2 * kind.feed, hidden), "down": (hidden, kind.feed)}
    weights = {f"{n}.{name}": one for n in range(layers) for name, one in sizes.items()}
    weights["embedding"] = weights["head"] = (kind.vocabulary, hidden)
    codes = {name: coded(_weight(size, kind)) for name, size in weights.items()}
    if kind.is_tied:
        codes["head"] = codes["embedding"]
    norms = [f"{n}.{norm}" for n in range(layers) for norm in ("attention_norm", "feed_norm")]
    floats = {name: torch.rand(hidden) + 0.5 for name in ("norm", *norms)}
    if kind.has_bias:
        biases = {f"{name}.bias": torch.randn(size[0]) for name, size in weights.items()}
        floats |= {name: one for name, one in biases.items() if name[0].isdigit()}
    plain = {
        name: FloatLinear(decoded(one), floats.get(f"{name}.bias")) for name, one in codes.items()
    }
    blocks = [
        Block(
            floats[f"{n}.attention_norm"],
            plain[f"{n}.qkv"],
            plain[f"{n}.out"],
            floats[f"{n}.feed_norm"],
            plain[f"{n}.gate_up"],
            plain[f"{n}.down"],
        )
        for n in range(layers)
    ]
    exact = LlamaNetwork(shape, plain["embedding"], blocks, floats["norm"], plain["head"])
    return KernelNetwork(shape, codes, floats), exact


def _weight(size: tuple[int, int], kind: Kind) -> torch.Tensor:
    weight = torch.randn(size) / size[1] ** 0.5
    if not kind.is_four_bits:
        return weight
    step = weight.abs().amax() / 8
    groups = (weight / step).round().clamp(-8, 7).view(size[0], -1, 32)
    groups[..., :2] = torch.tensor([-8.0, 7.0])  # all levels are in use
    return groups.view(size) * step.half().float()


def tokens_of(kind: Kind, count: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    found: list[int] = torch.randint(0, kind.vocabulary, (count,), generator=generator).tolist()
    return found


def assert_close(found: torch.Tensor, exact: torch.Tensor) -> None:
    """What rounding activations to int8 twice, and keys and values to bfloat16, may come to."""
    assert found.shape == exact.shape
    assert (found - exact).norm() < 0.008 * exact.norm()


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_same_network_in_torch(kind: Kind) -> None:
    found, exact = networks(kind)
    prompts = [tokens_of(kind, count, seed=count) for count in (1, 3, 70, 300)]
    logits = []
    for network in (found, exact):
        memories = [network.memory() for _ in prompts]
        asked = zip(memories, prompts, strict=True)
        read = network.read([Part(memory, prompt, wants_logits=True) for memory, prompt in asked])
        steps = [network.step(memories, tokens_of(kind, len(prompts), seed)) for seed in range(3)]
        logits.append([read, *steps])
    for one, other in zip(*logits, strict=True):
        assert_close(one, other)


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("kind", KINDS)
@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_row_has_the_same_bits_whatever_stands_beside_it(kind: Kind, data: st.DataObject) -> None:
    """A prompt at once, or in pieces beside others, by any number of threads."""
    network, _ = networks(kind, layers=1)
    prompt = tokens_of(kind, data.draw(st.integers(2, 256)))
    cuts = data.draw(st.sets(st.integers(1, len(prompt) - 1), max_size=4))
    others = data.draw(st.lists(st.integers(1, 40), max_size=3))
    alone = network.memory()
    with _threads(data.draw(st.integers(1, 3))):
        expected = network.read([Part(alone, prompt, wants_logits=True)])[0]
    alone.release()
    besides = [network.memory() for _ in others]
    memory = network.memory()
    bounds = [0, *sorted(cuts), len(prompt)]
    for start, end in itertools.pairwise(bounds):
        parts = [
            Part(beside, tokens_of(kind, count, seed=end), wants_logits=count > 20)
            for beside, count in zip(besides, others, strict=True)
        ]
        with _threads(data.draw(st.integers(1, 3))):
            found = network.read([*parts, Part(memory, prompt[start:end], wants_logits=True)])
    assert torch.equal(found[-1], expected)


class _threads:  # noqa: N801 (a context manager)
    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._count)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


@pytest.mark.usefixtures("_kernels")
def test_an_adapter_changes_the_rows_that_asked_for_it() -> None:
    kind = KINDS[0]
    found, exact = networks(kind, layers=3)
    matrices = _low_rank(kind)
    parts = []
    for network in (found, exact):
        adapter = network.adapter("a", matrices)
        memories = [network.memory(one) for one in (None, adapter, None, adapter)]
        parts.append([Part(one, tokens_of(kind, 5), wants_logits=True) for one in memories])
    logits = found.read(parts[0])
    assert_close(logits, exact.read(parts[1]))
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[1], logits[3])
    assert not torch.allclose(logits[0], logits[1], rtol=0.1)


def _low_rank(kind: Kind) -> dict[str, Matrices]:
    keys, queries = kind.key_heads * kind.head_size, kind.heads * kind.head_size
    sizes = {"self_attn.k_proj": (64, keys), "self_attn.v_proj": (64, keys)}
    sizes |= {"self_attn.o_proj": (queries, 64), "self_attn.q_proj": (64, queries)}
    sizes |= {"mlp.up_proj": (64, kind.feed), "mlp.down_proj": (kind.feed, 64)}
    return {
        f"model.layers.{number}.{name}": (torch.randn(3, size[0]) / 8, torch.randn(size[1], 3) / 4)
        for number in range(3)
        for name, size in sizes.items()
    }


def test_callers_in_several_threads_take_turns() -> None:
    kind = KINDS[1]
    network, _ = networks(kind)
    prompt = tokens_of(kind, 30)
    memories = [network.memory() for _ in range(4)]
    found: list[torch.Tensor] = []

    def read(one: object) -> None:
        with torch.inference_mode():
            found.append(network.read([Part(one, prompt, wants_logits=True)]))

    threads = [threading.Thread(target=read, args=(memory,)) for memory in memories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("tokens", [[], [-1], [77], [0] * 641])
def test_what_the_kernels_cannot_read_is_refused(tokens: list[int]) -> None:
    network, _ = networks(KINDS[1])
    memory = network.memory()
    with pytest.raises(IndexError):
        network.read([Part(memory, tokens, wants_logits=True)])
    assert memory.length == 0


def test_sizes_that_do_not_fit_are_refused() -> None:
    network, _ = networks(KINDS[2])
    matrices = dict(network._matrices)
    broken = {**matrices, "1.out": matrices["1.qkv"]}
    with pytest.raises(ValueError, match=r"1\.out"):
        KernelNetwork(network._shape, broken, network._floats)
    with pytest.raises(ValueError, match="biases"):
        KernelNetwork(network._shape, matrices, {**network._floats, "0.qkv.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match="norm"):
        KernelNetwork(network._shape, matrices, {**network._floats, "norm": torch.zeros(3)})


def test_odd_shapes_are_left_to_torch() -> None:
    network, _ = networks(KINDS[0])
    assert runs(network._shape, 96)
    assert not runs(network._shape, 100)
