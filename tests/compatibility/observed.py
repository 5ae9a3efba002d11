"""What became of a field, as seen from both ends of a running gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from gateway.api.parse import chat_request
from gateway.backends.local.conversation import turns_of
from gateway.backends.local.forms import form_of, tools_of
from gateway.backends.local.params import asked_of
from gateway.core.request import ChatRequest
from gateway.wire import anthropic_request, completions, responses_request
from tests.compatibility.case import Case
from tests.compatibility.endpoints import Endpoint
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
#: Without built-in tools there is nothing else to do with these.
_KEPT = {"max_tool_calls", "metadata", "store"}

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
    answer = backend.ask(endpoint.path, {**least, **case.fields})
    (name,) = case.fields
    if answer.status_code == 400:
        error = answer.json()["error"]
        assert re.search(rf"\b{name}\b", error.get("param") or error["message"]), error
        return "refused"
    assert answer.status_code == 200, (case.name, answer.text)
    told = [one for one in _told(answer) if one not in _told(before)]
    assert all(re.match(rf"{name}\b", one) for one in told), (case.name, told)
    if backend.vendor is None:
        seen = _by_the_small_model(endpoint, case, least)
    else:
        seen = _by_a_vendor(case, sent_before, backend.sent())
    if seen is None and name in _KEPT and _repeated(name, answer) != _repeated(name, before):
        seen = "kept"
    told = told or [name] * (name in _told(before))  # all of it was told already
    if told:
        return "told" if seen in (None, "kept") else f"{seen}, {_shown(told)} told"
    if seen is None and name in _OURS and name == case.name:
        return "honoured"
    if seen is None:
        raise SilentlyIgnored(f"{endpoint.path} {case.name} on {backend.model}")
    return seen


@cache
def _without_it(backend: Backend, path: str, body: str) -> tuple[httpx.Response, Mapping[str, Any]]:
    answer = backend.ask(path, json.loads(body))
    is_remote = backend.vendor is not None and answer.status_code == 200
    return answer, backend.sent() if is_remote else {}


def _by_a_vendor(case: Case, before: Mapping[str, Any], sent: Mapping[str, Any]) -> str | None:
    if all(sent.get(name) == value for name, value in case.fields.items()):
        return "passed"
    changed = {name for name in {*sent, *before} if sent.get(name) != before.get(name)}
    ours = case.beside.keys() - case.fields.keys()
    return f"translated to {_shown(sorted(changed - ours))}" if changed - ours else None


def _by_the_small_model(endpoint: Endpoint, case: Case, least: Mapping[str, Any]) -> str | None:
    """Whether the engine is asked for something else, which it does."""
    to_chat = _TO_CHAT[endpoint.path]
    before, asked = (
        chat_request(b"", {**to_chat(body), "model": "smollm2"})
        for body in (least, {**least, **case.fields})
    )
    is_other = _engine_input(before) != _engine_input(asked)
    return "honoured" if is_other else None


def _engine_input(request: ChatRequest) -> tuple[Any, ...]:
    chat = request.payload
    said = (turns_of(request.messages), asked_of(request))
    tools = [tool["function"] for tool in tools_of(chat)]
    return (*said, tools, form_of(chat), chat.get("n") or 1)


def _told(answer: httpx.Response) -> list[str]:
    told = answer.headers.get("x-gateway-ignored", "")
    return told.split(",") if told else []


def _repeated(name: str, answer: httpx.Response) -> object:
    """What an answer says of a field, as a response does of what was asked of it."""
    if not answer.headers["content-type"].startswith("application/json"):
        return None
    return answer.json().get(name)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
