"""What a file of features has to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.routing.conversation import Conversation


@dataclass(slots=True, frozen=True)
class Family:
    """Features that are computed together.

    `compute` gives one finite value for each of `features`, about 0 to 3. `version` rises when a
    computation changes: weights that were trained with another version are refused. Where
    `weighs_apart`, each feature has a weight for chats and another one for exams.
    """

    name: str
    version: int
    features: tuple[str, ...]
    compute: Callable[[Conversation], Sequence[float]]
    weighs_apart: bool = True
