"""Numbers computed from a conversation, one family a file; a new file here is a new family.

A feature that the classifier was not trained with weighs nothing until it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from gateway.routing.conversation import Conversation
from gateway.routing.features.family import Family


@cache
def families() -> tuple[Family, ...]:
    """Every family in this folder, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names if name != "family")
    return tuple(module.FAMILY for module in modules)


@cache
def feature_names() -> tuple[str, ...]:
    """The name of every feature, in the order in which values are computed.

    `family.feature`, and `exam.family.feature` for what weighs apart in exams.
    """
    names = []
    for family in families():
        own = [f"{family.name}.{name}" for name in family.features]
        names += own
        if family.weighs_apart:
            names += [f"exam.{name}" for name in own]
    return tuple(names)


def feature_values(conversation: Conversation) -> list[float]:
    """The value of every feature."""
    values: list[float] = []
    for family in families():
        computed = family.compute(conversation)
        if not family.weighs_apart:
            values += computed
        elif conversation.is_exam:
            values += [0.0] * len(computed)
            values += computed
        else:
            values += computed
            values += [0.0] * len(computed)
    return values


def feature_versions() -> dict[str, int]:
    """By family, the version of its computation: weights fit one version only."""
    return {family.name: family.version for family in families()}
