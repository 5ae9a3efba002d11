"""The sum of many calls: tokens, exact cost, energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.accounting.database import PICO_A_MICRO
from gateway.accounting.pricing import usd_of, usd_text

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
        for name, part in zip(SUM_COLUMNS[:7], parts[:7], strict=True):
            setattr(self, name, getattr(self, name) + int(part or 0))
        for name, part in zip(SUM_COLUMNS[7:], parts[7:], strict=True):
            if part is not None:
                setattr(self, name, (getattr(self, name) or 0.0) + float(part))

    @property
    def usd(self) -> Decimal | None:
        """The cost; None when no call was priced."""
        if not self.priced:
            return None
        return usd_of(self.cost_micro * PICO_A_MICRO + self.cost_pico_rest)

    def shown(self) -> dict[str, Any]:
        """The sums for users, in the order of `SHOWN_SUMS`."""
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_usd": usd_text(self.usd),
            "unpriced": self.unpriced,
            "energy_wh": self.energy_wh,
            "co2_g": self.co2_g,
        }


#: What users see of sums.
SHOWN_SUMS = tuple(Sums().shown())
