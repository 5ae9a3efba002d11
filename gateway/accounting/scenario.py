"""Traffic on another tier: amounts by block, how many tokens it would be, and resamples of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from gateway.accounting.pricing import amount_of, pico_of
from gateway.accounting.traffic import STRATA, Part, TokenPair, blocks_of
from gateway.core.deployment import Tier
from gateway.core.usage import Usage

Floats = NDArray[np.float64]

#: With fewer answers of each tier, or fewer prompts that both have read, a ratio says too little.
LEAST_ANSWERS = 30
#: A stratum counts where each tier has so many.
_LEAST_IN_STRATUM = 5
#: With fewer blocks an interval would promise more than it holds.
_LEAST_BLOCKS = 20
_RESAMPLES = 1000


@dataclass(slots=True, frozen=True)
class Ratio:
    """Tokens of the large tier's model for one of the small tier's; assumed 1 where unknown.

    `requests` is how many it was learnt from, 0 where it was assumed.
    """

    value: Decimal = Decimal(1)
    requests: int = 0

    @classmethod
    def of_pairs(cls, pairs: Sequence[TokenPair]) -> Ratio:
        """Of prompts, from those that both tiers have read."""
        requests = sum(pair.requests for pair in pairs)
        small, large = (
            sum(pair.small_tokens for pair in pairs),
            sum(pair.large_tokens for pair in pairs),
        )
        return cls(_to_six(large / small), requests) if requests >= LEAST_ANSWERS else cls()


ASSUMED = Ratio()


@dataclass(slots=True)
class Amounts:
    """A scenario's cost in pico-USD by block: what stays as it was, and what moves.

    Of what moves, `prompts` and `answers` are the cost of as many tokens as were logged, by the
    tier that they move to. `known` counts the answered requests in it, `unknown` the others.
    """

    stays: list[Decimal]
    prompts: dict[Tier, list[Decimal]]
    answers: dict[Tier, list[Decimal]]
    known: int = 0
    unknown: int = 0

    @classmethod
    def of_blocks(cls, blocks: int) -> Amounts:
        """Nothing yet."""
        nothing = [Decimal(0)] * blocks
        return cls(
            list(nothing),
            {tier: list(nothing) for tier in Tier},
            {tier: list(nothing) for tier in Tier},
        )

    def add(self, block: int, part: Part, shares: Mapping[Tier, Decimal]) -> None:
        """Count a part as answered by the tiers in these shares, or as unknown."""
        costs = {tier: _cost(part, tier) for tier, share in shares.items() if share}
        if any(cost is None for cost in costs.values()):
            self.unknown += part.answered
            return
        self.known += part.answered
        for tier, cost in costs.items():
            assert cost is not None  # noqa: S101 (seen above)
            stays, prompt, answer = cost
            self.stays[block] += shares[tier] * stays
            self.prompts[tier][block] += shares[tier] * prompt
            self.answers[tier][block] += shares[tier] * answer

    def keep(self, block: int, part: Part) -> None:
        """Count a part as it was."""
        self.stays[block] += part.spent_pico
        if part.unpriced:
            self.unknown += part.answered
        else:
            self.known += part.answered

    def pico(self, prompt_ratio: Decimal, answer_ratio: Decimal) -> int:
        """All of it, with the tokens that the other tier would count."""
        total = sum(self.stays)
        for tier in Tier:
            total += sum(self.prompts[tier]) * _towards(tier, prompt_ratio)
            total += sum(self.answers[tier]) * _towards(tier, answer_ratio)
        return round(total)


def _cost(part: Part, tier: Tier) -> tuple[int, int, int] | None:
    """Pico-USD of a part on a tier: as it was, or of prompts and answers that move there."""
    if part.answer_tier is tier and part.answer_pico is not None:
        return part.answer_pico, 0, 0
    price, used = part.prices[tier], part.usage
    if price is None:
        return None
    answers = Usage(
        0,
        used.completion_tokens,
        audio_output_tokens=used.audio_output_tokens,
        image_output_tokens=used.image_output_tokens,
        reasoning_tokens=used.reasoning_tokens,
    )
    prompts = Usage(
        used.prompt_tokens,
        0,
        cached_tokens=used.cached_tokens,
        cache_write_tokens=used.cache_write_tokens,
        cache_write_1h_tokens=used.cache_write_1h_tokens,
        audio_input_tokens=used.audio_input_tokens,
        image_input_tokens=used.image_input_tokens,
    )
    usd = amount_of(prompts, price), amount_of(answers, price)
    if usd[0] is None or usd[1] is None:
        return None
    prompt, answer = pico_of(usd[0]), pico_of(usd[1])
    return (prompt + answer, 0, 0) if part.answer_tier is tier else (0, prompt, answer)


def _towards(tier: Tier, ratio: Decimal) -> Decimal:
    return ratio if tier is Tier.LARGE else 1 / ratio


def _to_six(ratio: float) -> Decimal:
    return Decimal(str(round(ratio, 6)))


class Books:
    """The traffic added up as it was, ready for what it might have been."""

    def __init__(self, parts: Sequence[Part], pairs: Sequence[TokenPair]) -> None:
        self._parts = parts
        self._blocks = blocks_of(parts, pairs)
        blocks = len(self._blocks)
        self.spent = [0] * blocks
        self.requests = self.priced = self.unpriced = 0
        self.routed = self._large = 0
        self.overhead_ms = 0.0
        self._score = self._small_score = 0.0
        self._overhead = np.zeros(blocks)
        self._answers = np.zeros((blocks, STRATA, len(Tier)))
        self._tokens = np.zeros((blocks, STRATA, len(Tier)))
        self._pairs = np.zeros((blocks, 2))
        for part in parts:
            self._add(part)
        for pair in pairs:
            self._pairs[self._blocks[pair.block]] += (pair.small_tokens, pair.large_tokens)
        self.prompt_ratio = Ratio.of_pairs(pairs)
        self._compared = _comparable(self._answers.sum(axis=0))
        self.answer_ratio = self._answer_ratio()

    def _add(self, part: Part) -> None:
        block = self._blocks[part.block]
        self.spent[block] += part.spent_pico
        self.requests += part.requests
        self.priced += part.priced
        self.unpriced += part.unpriced
        self.overhead_ms += part.overhead_ms
        self._overhead[block] += part.overhead_ms
        if part.is_routed:
            self.routed += part.requests
            self._score += part.score
            if part.answer_tier is Tier.LARGE:
                self._large += part.requests
            else:
                self._small_score += part.score
        if part.stratum is not None:
            at = (block, part.stratum, int(part.answer_tier is Tier.LARGE))
            self._answers[at] += part.answered
            self._tokens[at] += part.usage.completion_tokens

    @property
    def large_share(self) -> float | None:
        """Of the routed requests, the part that the large tier answered."""
        return self._large / self.routed if self.routed else None

    @property
    def actual_shortfall(self) -> float | None:
        """The share of routed requests whose answer is expected to fall short, as it was."""
        return self._small_score / self.routed if self.routed else None

    def shortfall(self, kind: str) -> float | None:
        """The same in a scenario."""
        if not self.routed:
            return None
        small = {"all-large": 0.0, "all-small": 1.0}.get(kind, 1 - (self.large_share or 0.0))
        return small * self._score / self.routed

    def amounts(self, kind: str) -> Amounts:
        """The cost of a scenario."""
        found = Amounts.of_blocks(len(self._blocks))
        for part in self._parts:
            block = self._blocks[part.block]
            if kind != "random":
                found.add(block, part, {_TIERS[kind]: Decimal(1)})
            elif part.is_routed:
                found.add(block, part, self._by_chance)
            else:
                found.keep(block, part)
        return found

    @property
    def _by_chance(self) -> dict[Tier, Decimal]:
        """With what probability a routed request goes to each tier: as often as they went there."""
        large = Decimal(self._large) / self.routed
        return {Tier.LARGE: large, Tier.SMALL: 1 - large}

    def _answer_ratio(self) -> Ratio:
        answers, tokens = self._answers.sum(axis=0), self._tokens.sum(axis=0)
        if not self._compared.any():
            return Ratio()
        ratio = _standardised(answers, tokens, self._compared)
        return Ratio(_to_six(float(ratio)), int(answers[self._compared].sum()))

    def resamples(self, *, seed: int = 0) -> Resamples | None:
        """Traffic like this, drawn from its blocks; None where there are too few."""
        blocks = len(self._blocks)
        if blocks < _LEAST_BLOCKS:
            return None
        random = np.random.default_rng(seed)
        draws = random.multinomial(blocks, np.full(blocks, 1 / blocks), _RESAMPLES)
        weights = draws.astype(np.float64)
        found = Resamples(weights, weights @ np.array(self.spent, dtype=np.float64))
        if self.overhead_ms:
            found.overhead_share = weights @ self._overhead / self.overhead_ms
        if self.prompt_ratio.requests:
            small, large = (weights @ self._pairs).T
            found.prompt_ratio = large / np.maximum(small, 1)
        if self.answer_ratio.requests:
            answers, tokens = (
                np.tensordot(weights, sums, axes=1) for sums in (self._answers, self._tokens)
            )
            found.answer_ratio = _standardised(answers, tokens, self._compared)
        return found


_TIERS = {"all-large": Tier.LARGE, "all-small": Tier.SMALL}


def _comparable(answers: Floats) -> NDArray[np.bool_]:
    """The strata of the score in which both tiers have answered enough; none if too few in all."""
    both = (answers >= _LEAST_IN_STRATUM).all(axis=1)
    is_enough = bool((answers[both].sum(axis=0) >= LEAST_ANSWERS).all())
    return np.asarray(both & is_enough)


def _standardised(answers: Floats, tokens: Floats, compared: NDArray[np.bool_]) -> Floats:
    """How much longer the large tier's answers are to requests of the same scores.

    The mean length in each stratum, weighted by all of its requests: hard prompts get longer
    answers from either tier, and that isn't the model's doing.
    """
    answers, tokens = answers[..., compared, :], tokens[..., compared, :]
    means = tokens / np.maximum(answers, 1)
    weighted = (means * answers.sum(axis=-1, keepdims=True)).sum(axis=-2)
    return np.asarray(weighted[..., 1] / np.maximum(weighted[..., 0], 1e-9))


@dataclass(slots=True)
class Resamples:
    """Draws of blocks with replacement: their weights, and what each draw cost and would take."""

    weights: Floats
    spent: Floats
    overhead_share: Floats | float = 0.0
    prompt_ratio: Floats | float = 1.0
    answer_ratio: Floats | float = 1.0

    def totals(self, amounts: Amounts) -> Floats:
        """A scenario's cost in each draw, in pico-USD."""
        total = self._sum(amounts.stays)
        for tier in Tier:
            towards = 1.0 if tier is Tier.LARGE else -1.0
            total = total + self._sum(amounts.prompts[tier]) * self.prompt_ratio**towards
            total = total + self._sum(amounts.answers[tier]) * self.answer_ratio**towards
        return np.asarray(total)

    def _sum(self, blocks: Sequence[Decimal]) -> Floats:
        return np.asarray(self.weights @ np.array([float(one) for one in blocks]))
