"""Models by the names that people use: context, licence, and where their prices are listed.

`models.json` holds what no price list tells, each figure with its source; the catalogue adds the
models of the makers whose own lists it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gateway.accounting.catalogue import entries_of, price_of

#: Whose models are known by the catalogue's list of them alone.
MAKERS = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Google", "mistral": "Mistral AI"}


@dataclass(slots=True, frozen=True)
class KnownModel:
    """What is known of a model.

    `context_window` is in tokens. `licence` is an SPDX name where there is one, None where nobody
    has looked it up. `sources` say by figure where it is from. `listed` names the catalogue's
    entries that have a price for it (`PROVIDER/MODEL`), the maker's own first.
    """

    name: str
    maker: str
    names: tuple[str, ...]
    context_window: int | None
    licence: str | None
    open_weights: bool | None
    sources: Mapping[str, str]
    listed: tuple[str, ...]


@cache
def launch_models() -> tuple[KnownModel, ...]:
    """The models that the gateway was launched with."""
    text = files("gateway.accounting").joinpath("models.json").read_text("utf-8")
    return tuple(
        KnownModel(**{**one, "names": tuple(one["names"]), "listed": tuple(one["listed"])})
        for one in json.loads(text)
    )


def makers_models() -> Iterator[KnownModel]:
    """What the makers sell themselves, by token, and haven't given up."""
    for provider, maker in MAKERS.items():
        for owner, info in entries_of(provider):
            price = price_of(owner, info)
            resold = provider == "google" and info.id.startswith("claude")
            if info.deprecated or resold or price is None or price.usd_per_million_input is None:
                continue
            yield KnownModel(
                name=info.id,
                maker=maker,
                names=(info.id,),
                context_window=info.context_window,
                licence=None,
                open_weights=None,
                sources={"context_window": f"genai-prices:{owner.id}/{info.id}"},
                listed=(f"{owner.id}/{info.id}",),
            )


def known_models() -> list[KnownModel]:
    """Those of the launch, then the other ones that their makers sell."""
    launched = launch_models()
    listed = {entry for one in launched for entry in one.listed}
    return [*launched, *(one for one in makers_models() if one.listed[0] not in listed)]


def known_model(name: str) -> KnownModel | None:
    """The model of that name, however it is written; None where it isn't known."""
    wanted = _plain(name)
    found = next((one for one in launch_models() if wanted in _spellings(one)), None)
    return found or next((one for one in makers_models() if wanted in _spellings(one)), None)


def _spellings(model: KnownModel) -> set[str]:
    return {_plain(model.name), *map(_plain, model.names)}


def _plain(name: str) -> str:
    """Without the owner before it, nor case, nor what stands between the words."""
    return "".join(c for c in name.rpartition("/")[2].lower() if c.isalnum() or c == ".")
