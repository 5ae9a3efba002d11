"""The sum of many calls: tokens, exact cost, energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.accounting.database import PICO_A_MICRO
from gateway.accounting.pricing import usd_text_of

#: The columns of a table of sums, in the order in which `Sums.add` wants them.
SUM_COLUMNS = (
    "calls",
    "prompt_tokens",
    "completion_tokens",
    "priced",
    "unpriced",
    "cost_micro",
    "cost_pico_rest",
    "energy_wh",
    "co2_g",
)


@dataclass(slots=True)
class Sums:
    """Calls, tokens, cost and energy of a group.

    `unpriced` counts the calls that used tokens without a price; `energy_wh` and `co2_g` are None
    while no call has told them.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: int = 0
    unpriced: int = 0
    cost_micro: int = 0
    cost_pico_rest: int = 0
    energy_wh: float | None = None
    co2_g: float | None = None

    def add(self, parts: Sequence[Any]) -> None:
        """Add sums that come in the order of `SUM_COLUMNS`; null adds nothing."""
        calls, prompt, completion, priced, unpriced, micro, rest, energy_wh, co2_g = parts
        self.calls += int(calls or 0)
        self.prompt_tokens += int(prompt or 0)
        self.completion_tokens += int(completion or 0)
        self.priced += int(priced or 0)
        self.unpriced += int(unpriced or 0)
        self.cost_micro += int(micro or 0)
        self.cost_pico_rest += int(rest or 0)
        if energy_wh is not None:
            self.energy_wh = float(energy_wh) + (self.energy_wh or 0.0)
        if co2_g is not None:
            self.co2_g = float(co2_g) + (self.co2_g or 0.0)

    @property
    def cost_pico(self) -> int:
        """The cost of the priced calls, in pico-USD."""
        return self.cost_micro * PICO_A_MICRO + self.cost_pico_rest

    def shown(self) -> dict[str, Any]:
        """The sums for users, in the order of `SHOWN_SUMS`; no cost where no call was priced."""
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": usd_text_of(self.cost_pico) if self.priced else None,
            "unpriced": self.unpriced,
            "energy_wh": self.energy_wh,
            "co2_g": self.co2_g,
        }


#: What users see of sums.
SHOWN_SUMS = tuple(Sums().shown())
