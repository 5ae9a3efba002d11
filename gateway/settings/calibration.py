"""The calibration file: thresholds that `slm-gateway calibrate` solved, to be reviewed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel

from gateway.settings.loader import ConfigError, parse_document
from gateway.settings.section import Probability

_HEAD = """\
# Written by `slm-gateway calibrate`; the configuration includes it by routing.calibration.
# Review what changed, then keep it beside the configuration.
"""


class CalibratedPolicy(BaseModel):
    """What one policy's target was solved to.

    `value` is what the threshold gave on the samples (a quality kept, a share, USD a day), `low`
    and `high` its 95 % interval. `solved_on` says whose samples they were: `ledger` the user's
    own, `shipped` the classifier's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    threshold: float = Field(ge=0, le=1)
    solved_on: Literal["ledger", "shipped"]
    samples: int
    value: float
    low: float
    high: float
    router: str
    at: str
    min_confidence: Probability | None = None


class _Calibrations(RootModel[dict[str, CalibratedPolicy]]):
    """By policy name."""


def load_calibrations(path: Path) -> dict[str, CalibratedPolicy]:
    """Read a calibration file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path), ["can't be read; write it with slm-gateway calibrate"]
        ) from error
    return parse_document(text, _Calibrations, source=str(path)).root


def calibrations_text(calibrations: dict[str, CalibratedPolicy]) -> str:
    """The file's text, in the order of the policies' names."""
    document = {
        name: calibrations[name].model_dump(exclude_none=True) for name in sorted(calibrations)
    }
    return _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
