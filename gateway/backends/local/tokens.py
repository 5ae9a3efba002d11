"""Token counts in the web process, by the model's own tokenizer and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import orjson
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from gateway.backends.local.conversation import plain_messages, text_of

#: Characters tokenised at a time, so that a long text is left as soon as the limit is passed.
_PIECE = 8192

#: For models without a chat template: what transformers' generic template looks like.
_PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


class ModelTokenCounter:
    """Counts conversations as the engine's tokenizer will, template included."""

    def __init__(
        self, tokenizer: Tokenizer, template: str, special: Mapping[str, str], *, byte_level: bool
    ) -> None:
        """`byte_level`: a token never stands for less than one byte of text."""
        self._tokenizer = tokenizer
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        self._template = environment.from_string(template)
        self._special = dict(special)
        self._byte_level = byte_level
        self._frame_bytes = self._measure_frame()

    def count(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """The prompt's tokens."""
        return sum(self._counts(self._render(messages)))

    def exceeds(self, messages: Sequence[Mapping[str, Any]], limit: int) -> bool:
        """Whether the prompt has more than `limit` tokens."""
        if self._byte_level and self._bytes_at_most(messages) <= limit:
            return False
        total = 0
        for count in self._counts(self._render(messages)):
            total += count
            if total > limit:
                return True
        return False

    def _bytes_at_most(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """An upper bound of the rendered bytes, without rendering."""
        total = self._frame_bytes
        for message in messages:
            content = message.get("content")
            text = content if isinstance(content, str) else text_of(content)
            size = len(text) if text.isascii() else len(text.encode())
            total += size + self._frame_bytes
        return total

    def _measure_frame(self) -> int:
        """The most bytes that the template adds: to an empty conversation, or around a message."""
        one = [{"role": "assistant", "content": ""}]
        try:
            return len(self._render(one).encode())
        except jinja2.TemplateError:  # the template insists on a user's turn first
            return len(self._render([{"role": "user", "content": ""}]).encode()) + 32

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        return self._template.render(
            messages=plain_messages(messages), add_generation_prompt=True, **self._special
        )

    def _counts(self, text: str) -> Iterator[int]:
        for piece in _pieces(text):
            yield len(self._tokenizer.encode(piece, add_special_tokens=False))


def load_counter(folder: Path) -> ModelTokenCounter | None:
    """The counter of a model folder; None where it has no `tokenizer.json`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    config_path = folder / "tokenizer_config.json"
    config = orjson.loads(config_path.read_bytes()) if config_path.is_file() else {}
    template_path = folder / "chat_template.jinja"
    template = template_path.read_text() if template_path.is_file() else config.get("chat_template")
    special = {
        name: value
        for name in ("bos_token", "eos_token", "unk_token", "pad_token")
        if isinstance(value := config.get(name), str)
    }
    description = path.read_bytes()
    return ModelTokenCounter(
        Tokenizer.from_buffer(description),
        template if isinstance(template, str) else _PLAIN_TEMPLATE,
        special,
        byte_level=b'"ByteLevel"' in description,
    )


def _pieces(text: str) -> Iterator[str]:
    """The text cut before single spaces, where byte-level pre-tokenisers cut as well."""
    start = 0
    while len(text) - start > _PIECE:
        cut = text.rfind(" ", start + 1, start + _PIECE)
        while cut > start and (text[cut - 1].isspace() or text[cut + 1].isspace()):
            cut = text.rfind(" ", start + 1, cut)
        if cut <= start:
            cut = start + _PIECE
        yield text[start:cut]
        start = cut
    yield text[start:]


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
