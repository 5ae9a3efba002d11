"""Conversations stay on their model, whichever process gets their next turn."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sharing.names import SharedNames
from gateway.sharing.topic import Event, Topic

#: A client key's id and the conversation's name, the deployment, and how long ago it answered.
Learn = Callable[[tuple[str | None, str], str, float], None]


class SharedSessions:
    """Tells who answered a conversation here, and learns who answered elsewhere."""

    def __init__(self, names: SharedNames, learn: Learn, *, keep_s: float, most: int) -> None:
        self.topic = Topic("sessions", keep_s=keep_s, most=most, take=self._take)
        self._names = names
        self._learn = learn

    def answered(self, key_id: str | None, session: str, deployment: str) -> None:
        """A deployment has answered a conversation here."""
        identity = self._names.identity(deployment)
        if identity is not None:
            self.topic.tell((key_id, session, identity))

    def _take(self, event: Event) -> None:
        key_id, session, identity = event.body
        name = self._names.name(identity)
        if name is not None:
            self._learn((key_id, session), name, event.age_s)
