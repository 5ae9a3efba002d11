"""A conversation stays on its model unless a switch gains more than the lost prompt cache costs."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.core.deployment import Deployment
from gateway.core.request import ChatRequest
from gateway.routing.conversation import text_of

#: Characters of each opening message that tell conversations apart.
_OPENING_CHARACTERS = 2_000


#: A client key's id, and the conversation's name under that key.
Session = tuple[str | None, str]


class Sessions:
    """Which deployment answered a conversation last; the oldest are forgotten first."""

    def __init__(
        self,
        *,
        ttl_s: float,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        earlier: Sessions | None = None,
    ) -> None:
        """`ttl_s`: how long a provider's prompt cache lives; `most` sessions are kept.

        What `earlier` remembers is shared with it.
        """
        self._ttl_s = ttl_s
        self._most = most
        self._clock = clock
        self._last: OrderedDict[Session, tuple[str, float]] = (
            OrderedDict() if earlier is None else earlier._last
        )

    def last(self, session: Session) -> str | None:
        """The deployment that answered last, while its prompt cache may still live."""
        found = self._last.get(session)
        if found is None or self._clock() - found[1] > self._ttl_s:
            return None
        return found[0]

    def answered(self, session: Session, deployment: str) -> None:
        """Remember who answered."""
        self._remember(session, deployment, self._clock())

    def learn(self, session: Session, deployment: str, age_s: float) -> None:
        """Another process's answer, so many seconds ago: it counts if it is the newest."""
        answered_s = self._clock() - age_s
        found = self._last.get(session)
        if age_s <= self._ttl_s and (found is None or found[1] < answered_s):
            self._remember(session, deployment, answered_s)

    def _remember(self, session: Session, deployment: str, answered_s: float) -> None:
        self._last[session] = (deployment, answered_s)
        self._last.move_to_end(session)
        while len(self._last) > self._most:
            self._last.popitem(last=False)


def session_of(messages: Sequence[Mapping[str, Any]], key_id: str | None) -> str:
    """The name of a conversation that has none: a digest of its opening, up to the first user turn.

    Later turns repeat the opening, so they get the same name; other keys get other names.
    """
    digest = hashlib.blake2b(digest_size=12, key=(key_id or "").encode()[:64])
    for message in messages:
        role = str(message.get("role", ""))
        digest.update(f"\0{role}\0{text_of(message.get('content'))[:_OPENING_CHARACTERS]}".encode())
        if role == "user":
            break
    return f"c-{digest.hexdigest()}"


def is_continued(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the model has answered in this conversation before."""
    return any(message.get("role") == "assistant" for message in messages)


@dataclass(slots=True, frozen=True)
class Affinity:
    """How conversations keep to their model.

    `least_margin` is the margin (in units of score) at least, and alone where prices are unknown.
    `lost_usd` estimates what a deployment's prompt cache saves on a request, `extra_usd` what the
    large tier costs more than the small one.
    """

    sessions: Sessions
    least_margin: float
    lost_usd: Callable[[ChatRequest, Deployment], Decimal | None]
    extra_usd: Callable[[ChatRequest], Decimal | None]

    def margin(self, request: ChatRequest, leaving: Deployment, threshold: float) -> float:
        """By how much the score has to pass the threshold before the conversation leaves.

        At the threshold the large tier's better answers are worth what they cost more, so a unit
        of score is worth extra / threshold; losing a cache is threshold x lost / extra units.
        """
        lost, extra = self.lost_usd(request, leaving), self.extra_usd(request)
        if lost is None or extra is None or extra <= 0:
            return self.least_margin
        return max(self.least_margin, threshold * float(lost / extra))
