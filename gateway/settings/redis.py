"""The Redis that several gateways share, if there is one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.settings.section import EnvName, Section


class RedisSettings(Section):
    """What replicas share beside the database. The address stands in a variable: it is a secret."""

    url_env: EnvName = "GATEWAY_REDIS_URL"
    prefix: Annotated[str, Field(min_length=1, max_length=64)] = "slm-gateway"
