"""The grammars of forms, compiled once for each; llguidance is imported with the first."""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.backends.local.constraint import Constraint, refusal
from gateway.backends.local.dialect import NAME, Dialect
from gateway.backends.local.tokens import ChatTokenizer
from gateway.core.errors import InvalidRequest

#: The most calls in one answer.
_MOST_CALLS = 8
#: The largest schemas together, in bytes of JSON.
_MOST_SCHEMA_BYTES = 262_144
#: The most properties of one object: the time to compile them grows with their square.
_MOST_PROPERTIES = 1000
#: Grammars that are kept, and the bytes of the forms that they were made of.
_MOST_KEPT = 64
_MOST_KEPT_BYTES = 1_048_576
#: As Python writes JSON, which models have read most of.
_WRITTEN: Any = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
#: The most ids that a tokenizer may lack before its model's end token.
_MOST_ADDED = 4096


class Grammars:
    """Makes constraints for one tokenizer; safe to call from several threads."""

    def __init__(
        self, tokenizer: ChatTokenizer, vocabulary: int, end_tokens: Sequence[int]
    ) -> None:
        """`vocabulary` is how many logits the network gives."""
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._lock = threading.Lock()
        #: Not the same: making them takes long, and nobody waits who only looks what is known.
        self._making = threading.Lock()
        self._made: _Tokens | Exception | None = None
        self._kept: collections.OrderedDict[bytes, Any] = collections.OrderedDict()

    def knows(self, form: Mapping[str, Any]) -> bool:
        """Whether the grammar of a form is compiled."""
        with self._lock:
            return _key(form) in self._kept

    def constraint(self, form: Mapping[str, Any]) -> Constraint:
        """A form as `forms.form_of` states it. Raises InvalidRequest for what can't be held to."""
        key = _key(form)
        with self._lock:
            matcher = self._kept.get(key)
            if matcher is not None:
                self._kept.move_to_end(key)
        if matcher is None:
            matcher = self._compiled(form)
            self._keep(key, matcher)
        return self._constraint(matcher, form["param"])

    def _constraint(self, matcher: Any, param: str) -> Constraint:
        tokens = self._tokens(param)
        return Constraint(matcher.deep_copy(), tokens.count, self._vocabulary, param)

    def _compiled(self, form: Mapping[str, Any]) -> Any:
        param = form["param"]
        _check_size(form)
        try:
            return self._matcher(form, param)
        except InvalidRequest:
            if "schema" in form and "tools" in form:  # say which of the two it is
                asked = {"schema": form["schema"], "param": "response_format"}
                self._matcher(asked, "response_format")
            raise

    def _matcher(self, form: Mapping[str, Any], param: str) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        tokens = self._tokens(param)
        try:
            grammar = self._grammar(form)
        except ValueError as error:  # the schema is no JSON object
            raise refusal(param, error) from error
        limits = LLParserLimits(verbose_errors=False)
        # Its warnings would go to the terminal, and may quote an answer.
        matcher = LLMatcher(tokens.tokenizer, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise refusal(param, matcher.get_error())
        self._constraint(matcher, param).check()
        return matcher

    def _grammar(self, form: Mapping[str, Any]) -> Any:
        from llguidance import LLMatcher

        if "tools" not in form:
            return LLMatcher.grammar_from_json_schema(form["schema"], defaults=_WRITTEN)
        dialect = self._tokenizer.dialect
        token = self._tokenizer.token_id(dialect.token) if dialect.token is not None else None
        return LLMatcher.grammar_from_lark("\n".join(_lines(form, dialect, token)))

    def _keep(self, key: bytes, matcher: Any) -> None:
        with self._lock:
            self._kept[key] = matcher
            while len(self._kept) > _MOST_KEPT or sum(map(len, self._kept)) > _MOST_KEPT_BYTES:
                self._kept.popitem(last=False)

    def _tokens(self, param: str) -> _Tokens:
        with self._making:
            if self._made is None:
                try:
                    self._made = _tokens_of(self._tokenizer, self._vocabulary, self._end_tokens)
                except Exception as error:
                    self._made = error
            made = self._made
        if isinstance(made, Exception):
            raise refusal(param, f"its tokenizer isn't one of those that can be ({made})")
        return made


@dataclass(slots=True, frozen=True)
class _Tokens:
    """llguidance's tokenizer, and how many ids it has."""

    tokenizer: Any
    count: int


def _tokens_of(tokenizer: ChatTokenizer, vocabulary: int, end_tokens: Sequence[int]) -> _Tokens:
    """For a tokenizer with more ids than the network has logits, or with fewer.

    llguidance wants a token that ends an answer. Where the model has none, one is added that the
    network can't say.
    """
    from llguidance import LLTokenizer

    ids = tokenizer.size
    ends = [token for token in end_tokens if token < ids + _MOST_ADDED] or [ids]
    count = max(ids, vocabulary, *(end + 1 for end in ends))
    text = tokenizer.to_json(max(ends) + 1)
    return _Tokens(LLTokenizer(text, n_vocab=count, eos_token=ends), count)


def _key(form: Mapping[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in form.items() if name != "param"})


def _check_size(form: Mapping[str, Any]) -> None:
    param = form["param"]
    if len(_key(form)) > _MOST_SCHEMA_BYTES:
        raise InvalidRequest(
            f"The schemas are larger than {_MOST_SCHEMA_BYTES} bytes of JSON.", param=param
        )
    if any(len(one) > _MOST_PROPERTIES for one in _mappings(form)):
        raise InvalidRequest(
            f"An object in the schemas has more than {_MOST_PROPERTIES} properties.", param=param
        )


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = value.values()
    if not isinstance(value, str) and isinstance(value, collections.abc.Iterable):
        for one in value:
            yield from _mappings(one)


def _lines(form: Mapping[str, Any], dialect: Dialect, token: int | None) -> Iterator[str]:
    """Text and calls, a schema's JSON and calls, or calls alone, in Lark's notation.

    `token` is the id of the special token that begins calls, where the dialect has one.
    """
    yield "%llguidance {}"
    tools = form["tools"]
    for number, tool in enumerate(tools):
        # A schema of its own for each, so that its references find what they name.
        schema = _text({**tool["parameters"], "x-guidance": _WRITTEN})
        before = f'{{"name": {_text(tool["name"])}, "{dialect.arguments}": '
        yield f'call_{number}: {_text(before)} %json {schema} "}}"'
    yield f"call: {' | '.join(f'call_{number}' for number in range(len(tools)))}"
    more = ""
    if form["is_parallel"] and dialect.between is not None:
        # A small model that may call on and on does.
        more = f"({_text(dialect.between)} call){{0,{_MOST_CALLS - 1}}}"
    yield f"calls: call {more} {_text(dialect.closing) if dialect.closing else ''}"
    opening = f"<[{token}]>" if token is not None else _text(dialect.opening)
    if dialect.is_whole:
        opening = ""
    if dialect.lead:
        yield f"LEAD: /{dialect.lead}/"
        opening += " LEAD"
    if "schema" in form:
        yield f"answer: %json {_text({**form['schema'], 'x-guidance': _WRITTEN})}"
        yield f"start: answer | {opening} calls"
    elif form["first"] is not None:
        yield f"start: {opening} calls"
    else:
        yield from _free(dialect, token, opening)


def _free(dialect: Dialect, token: int | None, opening: str) -> Iterator[str]:
    """Text in which calls may come, or which may be a call."""
    if dialect.is_whole:
        yield "start: TEXT | calls"
        yield f"TEXT: /(.|\\n)*/ & ~/{re.escape(NAME)}(.|\\n)*/"
        return
    yield "TEXT: /(.|\\n)*/"
    if token is not None:
        yield f"start: TEXT | TEXT {opening} calls | {opening} calls"
        return
    # The text is lazy: the first marker in it begins a call.
    yield f"start: TEXT | before {'LEAD' if dialect.lead else ''} calls"
    yield f"before[lazy]: /(.|\\n)*{_pattern(dialect.opening)}/"


def _pattern(text: str) -> str:
    return re.escape(text).replace("\n", "n")


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
