"""A model's chat template: turns in, the prompt's text out, as transformers renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.backends.local.dialect import dialect_of
from gateway.backends.local.folder import read_json
from gateway.core.errors import InvalidRequest

#: For base models, which have no template of their own.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


class _Generation(Extension):
    """The `generation` block, by which training marks an assistant's turn; no change here."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own shape)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_same")
        return CallBlock(call, [], [], body).set_lineno(line)

    def _same(self, caller: Any) -> str:
        return str(caller())


class ChatTemplate:
    """A compiled template; it runs in Jinja's sandbox, for it comes with the model's files."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """`special_tokens` are the names that templates use, for example `bos_token`."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._template = environment.from_string(source)
        #: How calls are written, where it tells of tools itself and in one of the known ways.
        self.dialect = dialect_of(source)
        self._special_tokens = dict(special_tokens)

    @classmethod
    def of_folder(cls, folder: Path) -> ChatTemplate:
        """The template and special tokens in a model's folder; a plain one where it has none."""
        config = read_json(folder / "tokenizer_config.json")
        source = template_source(folder)
        tokens = {**read_json(folder / "special_tokens_map.json"), **config}
        return cls(source or PLAIN_TEMPLATE, special_tokens_of(tokens))

    def render(
        self, turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """The prompt up to where the answer begins. Raises InvalidRequest."""
        try:
            return self._template.render(
                messages=turns,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except TemplateError as error:
            raise InvalidRequest(
                f"The model's chat template refuses the conversation: {error}", param="messages"
            ) from error


def template_source(folder: Path) -> str | None:
    """The template in a model's folder; None where it has none of its own."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    return _default_of(read_json(folder / "tokenizer_config.json"))


def special_tokens_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens that a tokenizer's configuration names, by name."""
    named = {key: value for key, value in config.items() if key.endswith("_token")}
    texts = {
        key: value.get("content") if isinstance(value, Mapping) else value
        for key, value in named.items()
    }
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _default_of(config: Mapping[str, Any]) -> str | None:
    stated = config.get("chat_template")
    if isinstance(stated, list):
        return next((one["template"] for one in stated if one.get("name") == "default"), None)
    return stated if isinstance(stated, str) else None


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
