"""What every section of the configuration shares: its base, and the kinds of values."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
UsdRate = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")]
BaseUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]


class Section(BaseModel):
    """One block of the file: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_routing_name(name: str) -> bool:
    """Whether a model of that name is not one, but routing."""
    return name == "auto" or name.startswith(("auto:", "auto@"))
