"""Pictures that a person can open: real PNGs, of a sensible size, with something drawn on them."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gateway.accounting.offpolicy import Quality
from gateway.accounting.replay import Bill, Sweep, ThresholdOutcome
from gateway.app.plots import plot_cost_quality, plot_sweep
from gateway.core.price import PICO_USD

RATED = Quality(0.7, 0.6, 0.8, 40)


def swept(*thresholds: float, quality: Quality | None) -> Sweep:
    outcomes = tuple(
        ThresholdOutcome(
            threshold=threshold,
            large=10 - at,
            to_large=0,
            to_small=at,
            bill=Bill(10, at, PICO_USD * (10 - at)),
            quality=quality,
            expected=1 - at / 20,
        )
        for at, threshold in enumerate(thresholds)
    )
    return Sweep(10, 0, 10, Bill(10), 40, explored=False, outcomes=outcomes)


def colours(path: Path) -> set[tuple[int, ...]]:
    """The colours of a PNG, which must be one; the picture must be as large as a reader needs."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(path)
    height, width, _ = pixels.shape
    assert 400 <= height <= 1200
    assert 600 <= width <= 2400
    levels = np.rint(pixels[:, :, :3] * 255).astype(int).reshape(-1, 3)
    return set(map(tuple, np.unique(levels, axis=0).tolist()))


BLUE, GREEN, ORANGE = (0, 114, 178), (0, 158, 115), (213, 94, 0)


def test_a_sweep_shows_cost_and_where_known_quality(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    plot_sweep(swept(0.0, 0.5, 1.0, quality=RATED), {"live": 0.5}, path)
    assert {BLUE, GREEN} <= colours(path)
    plot_sweep(swept(0.0, 0.5, 1.0, quality=None), {"live": 0.5}, path)
    drawn = colours(path)
    assert BLUE in drawn
    assert GREEN not in drawn


@pytest.mark.parametrize("thresholds", [(0.5,), (0.0, 1.0)])
def test_a_sweep_of_few_thresholds_or_no_requests_can_be_drawn(
    thresholds: tuple[float, ...], tmp_path: Path
) -> None:
    path = tmp_path / "out.png"
    plot_sweep(swept(*thresholds, quality=RATED), {"live": 0.5, "new": 0.7}, path)
    assert BLUE in colours(path)


def test_curves_are_drawn_in_colours_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    curves = {
        "router": [(0.0, 0.5, 0.45, 0.55), (0.5, 0.8, 0.75, 0.85), (1.0, 0.9, 0.85, 0.95)],
        "random": [(0.0, 0.5, 0.45, 0.55), (1.0, 0.9, 0.85, 0.95)],
    }
    plot_cost_quality({"one": curves, "two": curves}, path)
    assert {BLUE, ORANGE} <= colours(path)


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        plot_cost_quality(
            {"one": {"router": [(0.0, 1.0, 1.0, 1.0)]}}, tmp_path / "absent" / "out.png"
        )
