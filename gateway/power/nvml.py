"""The energy counters of NVIDIA's GPUs, by NVML; needs the extra `nvidia`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Self

_log = logging.getLogger("gateway.power")


class Nvml:
    """What some GPUs of this machine draw, whatever runs on them."""

    name = "nvml"

    def __init__(self, library: Any, gpus: Sequence[int]) -> None:
        """`library` is `pynvml`, initialised. Raises its NVMLError."""
        self._library = library
        self._handles = [library.nvmlDeviceGetHandleByIndex(index) for index in gpus]
        self._at_s = time.monotonic()
        self._counted_mj = self._count_mj()

    @classmethod
    def found(cls, gpus: Sequence[int]) -> Self | None:
        """The GPUs of these numbers; None where the library, the driver or a GPU is missing."""
        try:
            import pynvml
        except ImportError:
            _log.warning("GPUs can't be measured: install slm-gateway[nvidia]")
            return None
        try:
            pynvml.nvmlInit()
            return cls(pynvml, gpus)
        except pynvml.NVMLError as error:
            _log.warning("GPUs can't be measured: %s", error)
            return None

    def watts(self) -> float | None:
        """The mean since the last look. Raises OSError where a GPU can't be read any more."""
        try:
            counted_mj, at_s = self._count_mj(), time.monotonic()
        except self._library.NVMLError as error:
            raise OSError(str(error)) from error
        used_mj, passed_s = counted_mj - self._counted_mj, at_s - self._at_s
        self._counted_mj, self._at_s = counted_mj, at_s
        return used_mj / 1e3 / passed_s if passed_s > 0 and used_mj >= 0 else None

    def _count_mj(self) -> int:
        """Millijoules since the driver was loaded; GPUs since Volta count them."""
        count = self._library.nvmlDeviceGetTotalEnergyConsumption
        return sum(count(handle) for handle in self._handles)
