"""Answers held to a form: a JSON schema, or calls of tools. The grammars are llguidance's.

https://github.com/guidance-ai/llguidance (MIT). It is imported with the first such request.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import torch

from gateway.backends.local.forms import CALL_BEGINS, CALL_ENDS
from gateway.backends.local.tokens import ChatTokenizer
from gateway.core.errors import InvalidRequest

#: The most calls in one answer.
_MOST_CALLS = 8
#: The largest schemas together, in bytes of JSON.
_MOST_SCHEMA_BYTES = 262_144
#: As Python writes JSON, which models have read most of.
_WRITTEN: Any = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


class Constraint:
    """One answer's form: what may come next."""

    def __init__(self, matcher: Any, vocabulary: int, param: str) -> None:
        """`param` is the field that asks for the form."""
        self._matcher = matcher
        self._param = param
        self._bits = np.zeros((1, -(-vocabulary // 32)), dtype=np.int32)
        self._vocabulary = vocabulary

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def restrict(self, logits: torch.Tensor) -> None:
        """Make every token impossible that can't come next; in place, shape (vocabulary,)."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bits = np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little")
        allowed = torch.from_numpy(bits[: self._vocabulary]).bool()
        logits.masked_fill_(~allowed, float("-inf"))

    def accept(self, token: int) -> None:
        """Take the token that was chosen. Raises InvalidRequest where the form then has no end."""
        if not self._matcher.consume_token(token):
            raise _refusal(self._param, str(self._matcher.get_error()))

    def check(self) -> None:
        """Take a first token for a trial. Raises InvalidRequest where none leads anywhere."""
        trial = Constraint(self._matcher.deep_copy(), self._vocabulary, self._param)
        logits = torch.zeros(self._vocabulary)
        trial.restrict(logits)
        if trial._matcher.is_error():
            raise _refusal(self._param, "nothing can be an answer")
        trial.accept(int(logits.argmax()))


class Grammars:
    """Makes constraints for one tokenizer; safe to call from several threads."""

    def __init__(
        self, tokenizer: ChatTokenizer, vocabulary: int, end_tokens: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._lock = threading.Lock()
        self._made: Any = None

    def constraint(self, form: Mapping[str, Any]) -> Constraint:
        """A form as `forms.form_of` states it. Raises InvalidRequest for what can't be held to."""
        from llguidance import LLMatcher

        param = form["param"]
        if len(orjson.dumps(form)) > _MOST_SCHEMA_BYTES:
            raise InvalidRequest(
                f"The schemas are larger than {_MOST_SCHEMA_BYTES} bytes of JSON.", param=param
            )
        try:
            grammar = _json_grammar(form["schema"]) if "schema" in form else _calls_grammar(form)
        except ValueError as error:  # the schema is no JSON object
            raise _refusal(param, str(error)) from error
        matcher = LLMatcher(self._llguidance_tokenizer(), grammar)
        if matcher.is_error():
            raise _refusal(param, str(matcher.get_error()))
        constraint = Constraint(matcher, self._vocabulary, param)
        constraint.check()
        return constraint

    def _llguidance_tokenizer(self) -> Any:
        from llguidance import LLTokenizer

        with self._lock:
            if self._made is None:
                self._made = LLTokenizer(
                    self._tokenizer.to_json(),
                    n_vocab=self._vocabulary,
                    eos_token=list(self._end_tokens),
                )
            return self._made


def _refusal(param: str, reason: str) -> InvalidRequest:
    said = f"The local model can't be held to {param}: {_first_line(reason)}"
    return InvalidRequest(said, param=param)


def _first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0]


def _json_grammar(schema: Any) -> Any:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(schema, defaults=_WRITTEN)


def _calls_grammar(form: Mapping[str, Any]) -> Any:
    """Text and calls, or calls alone, in Lark's notation."""
    from llguidance import LLMatcher

    calls = []
    for tool in form["tools"]:
        # A schema of its own for each, so that its references find what they name.
        schema = orjson.dumps({**tool["parameters"], "x-guidance": _WRITTEN}).decode()
        name = orjson.dumps(tool["name"]).decode()
        before = orjson.dumps(f'{{"name": {name}, "arguments": ').decode()
        calls.append(f'{before} %json {schema} "}}"')
    names = [f"call_{number}" for number in range(len(calls))]
    lines = [f"{name}: {call}" for name, call in zip(names, calls, strict=True)]
    ending = orjson.dumps(f"\n{CALL_ENDS}").decode()
    opening = orjson.dumps(f"{CALL_BEGINS}\n").decode()
    lines.append(f"call: ({' | '.join(names)}) {ending}")
    # A small model that may call on and on does.
    most = f"{{0,{_MOST_CALLS - 1}}}"
    more = f'("\\n" {opening} call){most}' if form["is_parallel"] else ""
    if form["first"] is None:
        # The text is lazy: the first marker in it begins a call.
        lines.append(f"start: TEXT | (before call {more})")
        lines.append("TEXT: /(.|\\n)*/")
        lines.append(f"before[lazy]: /(.|\\n)*{CALL_BEGINS}\\n/")
    else:
        lines.append(f"start: {opening} call {more}")
    return LLMatcher.grammar_from_lark("\n".join(["%llguidance {}", *lines]))
