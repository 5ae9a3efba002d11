"""What this gateway shares with others at one Redis: breakers, and who answered a conversation."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.app.reload import LiveGateway
from gateway.core.entry import LedgerEntry
from gateway.core.forwarding import PASSTHROUGH
from gateway.resilience.breaker import Breaker
from gateway.settings import ConfigError, DeploymentSettings, Environment, Settings
from gateway.sharing.breakers import SharedBreakers
from gateway.sharing.bus import EventBus
from gateway.sharing.names import Described, SharedNames
from gateway.sharing.sessions import SharedSessions

#: How much longer than its cooldown an opened breaker is worth knowing of: jitter, and a probe.
_BEYOND_COOLDOWN = 1.2
_PROBE_S = 60.0


class Sharing:
    """Keeps the live gateway in step with others, from start to stop."""

    def __init__(self, live: LiveGateway, environment: Environment, url: str) -> None:
        """Raises ValueError for what is no address of a Redis."""
        self._live = live
        self._environment = environment
        # A local engine is this machine's own: that one is broken says nothing of another.
        self._upstreams, self._models = SharedNames(), SharedNames()
        self._breakers = SharedBreakers(self._upstreams, self._breaker, keep_s=0)
        self._sessions = SharedSessions(self._models, self._learn, keep_s=0, most=1)
        self._follow()
        topics = [self._breakers.topic, self._sessions.topic]
        prefix = live.gateway.settings.redis.prefix
        self._bus = EventBus(url, prefix, topics, self._breakers.tell_again)
        self._breakers.sender = self._bus.sender

    async def start(self) -> None:
        """Learn what the others know, and tell and listen from now on."""
        gateway = self._live.gateway  # a reload keeps its health and its sink
        gateway.health.watcher = self._breakers.found
        gateway.sink.lasting = (*gateway.sink.lasting, self._observe)
        self._live.reloaded = self._follow
        await self._bus.start()

    async def stop(self) -> None:
        """Tell what is left, and close the connections."""
        await self._bus.stop()

    def is_connected(self) -> bool:
        """Whether Redis answers."""
        return self._bus.problem is None

    def degraded(self) -> dict[str, str | None]:
        """What is wrong while requests go on; None where nothing is."""
        problem = self._bus.problem
        own = "breakers, affinity and rates are each process's own"
        return {"redis": None if problem is None else f"{problem}; {own}"}

    def _follow(self) -> None:
        """Share by the configuration as it is now."""
        settings = self._live.gateway.settings
        described = [(entry, self._described(entry)) for entry in settings.deployments]
        self._upstreams.replace(one for entry, one in described if entry.backend != "local")
        self._models.replace(_talking(settings, described))
        longest_s = settings.resilience.breaker.longest_cooldown_s
        self._breakers.topic.keep_s = longest_s * _BEYOND_COOLDOWN + _PROBE_S
        affinity = settings.routing.affinity
        self._sessions.topic.keep_s = affinity.ttl_s
        self._sessions.topic.most = affinity.max_sessions

    def _described(self, entry: DeploymentSettings) -> Described:
        key = None if entry.api_key_env is None else self._environment.secret(entry.api_key_env)
        return Described(entry.name, entry.backend, entry.model, entry.base_url, key)

    def _breaker(self, name: str) -> Breaker | None:
        return self._live.gateway.health.breaker(name)

    def _learn(self, session: tuple[str | None, str], deployment: str, age_s: float) -> None:
        self._live.gateway.sessions.learn(session, deployment, age_s)

    def _observe(self, entry: LedgerEntry) -> None:
        if entry.session is not None and entry.outcome == "ok" and entry.reason != PASSTHROUGH:
            self._sessions.answered(entry.key_id, entry.session, entry.deployment)


def sharing_of(live: LiveGateway, environment: Environment) -> Sharing | None:
    """The sharing that is configured, if any. Raises ConfigError, which holds no address."""
    settings = live.gateway.settings
    url = environment.redis_url(settings)
    if url is None:
        return None
    try:
        return Sharing(live, environment, url)
    except ValueError:
        problem = f"{settings.redis.url_env} holds no address: redis://, rediss:// or unix://…"
        raise ConfigError("the environment", [problem]) from None


def _talking(
    settings: Settings, described: list[tuple[DeploymentSettings, Described]]
) -> Iterator[Described]:
    """Those whose conversations stay with them."""
    if settings.routing.affinity.enabled:
        yield from (one for entry, one in described if entry.serves == "chat")
