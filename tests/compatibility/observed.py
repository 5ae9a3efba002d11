"""What became of a field, as seen from both ends of a running gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from gateway.backends.local.honoured import HONOURED
from gateway.wire import anthropic_request, completions, responses_request
from tests.compatibility.cases import Case, Endpoint
from tests.vendor.behaviour import Behaviour
from tests.vendor.fixture import RunningVendor

_TO_CHAT: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "/v1/chat/completions": dict,
    "/v1/completions": completions.chat_body,
    "/v1/responses": responses_request.chat_body,
    "/v1/messages": anthropic_request.chat_body,
}
#: The gateway itself does these, whatever the backend.
_OURS = {"stream", "stream_options"}


_USUAL = Behaviour()


class SilentlyIgnored(AssertionError):
    """Nobody honoured, translated, refused or told the field."""


@dataclass(slots=True, frozen=True, eq=False)
class Backend:
    """A deployment to be asked by its name; `vendor` is None for the small model."""

    client: httpx.Client
    model: str
    vendor: RunningVendor | None

    def ask(
        self, path: str, body: Mapping[str, Any], behaviour: Behaviour = _USUAL
    ) -> httpx.Response:
        if self.vendor is not None:
            self.vendor.forget()
            self.vendor.always(behaviour)
        return self.client.post(path, json={**body, "model": self.model})

    def sent(self) -> dict[str, Any]:
        """What the vendor received."""
        assert self.vendor is not None
        return self.vendor.received[-1].body


def outcome(backend: Backend, endpoint: Endpoint, case: Case) -> str:
    """`passed`, `translated to …`, `honoured`, `kept`, `told` or `refused`."""
    least = {**endpoint.least, **case.beside}
    before, sent_before = _without_it(backend, endpoint.path, json.dumps(least))
    if before.status_code == 400:  # what the field needs is refused
        return "refused"
    asked = {**least, **case.fields}
    answer = backend.ask(endpoint.path, asked)
    (name,) = case.fields
    if answer.status_code == 400:
        error = answer.json()["error"]
        assert name in json.dumps(error), error
        return "refused"
    assert answer.status_code == 200, (case.name, answer.text)
    if backend.vendor is None:
        seen = _by_the_small_model(endpoint, case, least, answer)
    else:
        seen = _by_a_vendor(case, sent_before, backend.sent(), answer)
    if seen is None and _is_kept(name, before, answer):
        return "kept"
    if seen is None:
        raise SilentlyIgnored(f"{endpoint.path} {case.name} on {backend.model}")
    return seen


@cache
def _without_it(backend: Backend, path: str, body: str) -> tuple[httpx.Response, Mapping[str, Any]]:
    answer = backend.ask(path, json.loads(body))
    is_remote = backend.vendor is not None and answer.status_code == 200
    return answer, backend.sent() if is_remote else {}


def _by_a_vendor(
    case: Case, before: Mapping[str, Any], sent: Mapping[str, Any], answer: httpx.Response
) -> str | None:
    if all(sent.get(name) == value for name, value in case.fields.items()):
        return "passed"
    changed = sorted(
        name
        for name in {*sent, *before}
        if sent.get(name) != before.get(name) and name not in case.beside
    )
    told = _told(answer)
    if changed:
        also = f", {_shown(told)} told" if told else ""
        return f"translated to {_shown(changed)}{also}"
    if told:
        return "told"
    return "honoured" if set(case.fields) <= _OURS else None


def _by_the_small_model(
    endpoint: Endpoint, case: Case, least: Mapping[str, Any], answer: httpx.Response
) -> str | None:
    told = _told(answer)
    to_chat = _TO_CHAT[endpoint.path]
    before, asked = to_chat(least), to_chat({**least, **case.fields})
    changed = {name for name in {*before, *asked} if before.get(name) != asked.get(name)}
    if told:
        return "told"
    if set(case.fields) <= _OURS or (changed and changed <= HONOURED):
        return "honoured"
    return None


def _told(answer: httpx.Response) -> list[str]:
    told = answer.headers.get("x-gateway-ignored", "")
    return told.split(",") if told else []


def _is_kept(name: str, before: httpx.Response, answer: httpx.Response) -> bool:
    """Whether the answer repeats it, as a response does what was asked of it."""
    if not answer.headers["content-type"].startswith("application/json"):
        return False
    return bool(before.json().get(name) != answer.json().get(name))


def _shown(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
