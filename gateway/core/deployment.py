"""A deployment: a configured backend, the model it serves, its price and what it can do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gateway.core.energy import EnergyModel
from gateway.core.price import Price
from gateway.core.request import Wire

#: What a deployment's model makes of a request.
Serves = Literal["chat", "embeddings"]


class Tier(StrEnum):
    """Which side of the threshold a deployment answers."""

    SMALL = "small"
    LARGE = "large"


class Capability(StrEnum):
    """Something a request may need that not every deployment can do."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    VISION = "vision"
    AUDIO = "audio"
    FILES = "files"
    LOGPROBS = "logprobs"
    MULTIPLE_CHOICES = "n"


ALL_CAPABILITIES = frozenset(Capability)


@dataclass(slots=True, frozen=True)
class Deployment:
    """One target of routing. `model` is the name that the backend itself knows.

    `context_window` is in tokens, None when unknown; `languages` are ISO 639-1 codes, None for
    all. `unavailable` says in one clause why the deployment can't be called at all (for example
    `OPENAI_API_KEY is not set`). `wires` are the formats that the backend speaks itself; requests
    in others are translated. `refused_fields` are chat fields that it can't honour although they
    change what an answer is: requests that use one go elsewhere. `vector_size` is the number of
    dimensions of an encoder on this machine. `adapters` are further names: the same model with a
    LoRA adapter; `adapter` is set where a request has asked for one. `energy` is None where nothing
    tells what electricity an answer takes.
    """

    name: str
    tier: Tier
    backend: str
    model: str
    aliases: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = ALL_CAPABILITIES
    context_window: int | None = None
    max_output_tokens: int | None = None
    languages: frozenset[str] | None = None
    price: Price | None = None
    unavailable: str | None = None
    wires: frozenset[Wire] = frozenset({"chat"})
    refused_fields: frozenset[str] = frozenset()
    serves: Serves = "chat"
    vector_size: int | None = None
    adapters: tuple[str, ...] = ()
    adapter: str | None = None
    energy: EnergyModel | None = None
