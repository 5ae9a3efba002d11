"""Prompts in a model's own tokens, by the Rust tokenizers library alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer

from gateway.backends.local.conversation import (
    in_plain_text,
    text_of,
    turns_of,
    with_short_ids,
)
from gateway.backends.local.dialect import HERMES, MISTRAL, Dialect
from gateway.backends.local.folder import read_json
from gateway.backends.local.template import ChatTemplate
from gateway.core.errors import InvalidRequest

#: Characters that are tokenised at a time while only a limit is in question.
_PIECE = 4096
#: A single space between words starts a word of its own in every tokenizer, so that cutting there
#: changes no token.
_WORD_START = re.compile(r"(?<=\S) (?=\S)")
#: How many tokens a cut elsewhere may add at most: a special token's spelling that is torn apart.
_TORN = 32

#: Text that a template must pass on as it is for the bound below to hold.
_PROBE = 'Ünchanged "text" <&>\n of a probe'


#: How a sentencepiece vocabulary spells a single byte.
_BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_spellings() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others come after."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in kept]
    moved = {chr(0x100 + place): byte for place, byte in enumerate(others)}
    return {**{chr(byte): byte for byte in kept}, **moved}


_BYTES = _byte_spellings()


class ChatTokenizer:
    """Turns conversations into token ids and back."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template

    @classmethod
    def of_folder(cls, folder: Path) -> ChatTokenizer | None:
        """The tokenizer of a model's folder; None where it has no `tokenizer.json`."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            return None
        return cls(Tokenizer.from_file(str(file)), ChatTemplate.of_folder(folder))

    def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """The prompt's token ids, up to where the answer begins. Raises InvalidRequest."""
        ids: list[int] = self._encoded(self._rendered(messages, tools)).ids
        return ids

    def _rendered(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> str:
        turns = turns_of(messages)
        if self._template.dialect is not None:
            turns = with_short_ids(turns) if self._template.dialect is MISTRAL else turns
            return self._template.render(turns, tools)
        return self._template.render(in_plain_text(turns, tools))

    @property
    def dialect(self) -> Dialect:
        """How its model writes calls of tools: as its template has it, else in our words."""
        return self._template.dialect or HERMES

    @cached_property
    def size(self) -> int:
        """How many ids there are."""
        ids: Mapping[str, int] = self._tokenizer.get_vocab()
        return max(ids.values(), default=-1) + 1

    def to_json(self, size: int) -> str:
        """The tokenizer as its `tokenizer.json` says it, with at least so many ids."""
        tokenizer = self._tokenizer
        if self.size < size:
            tokenizer = Tokenizer.from_str(tokenizer.to_str())
            added = [f"<|no token {number}|>" for number in range(self.size, size)]
            tokenizer.add_special_tokens(added)
        text: str = tokenizer.to_str()
        return text

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for; its spelling where it is a special one."""
        spelling: str = self._tokenizer.id_to_token(token) or ""
        if self._is_byte_level and all(character in _BYTES for character in spelling):
            return bytes(_BYTES[character] for character in spelling)
        if (named := _BYTE_NAME.fullmatch(spelling)) is not None:
            return bytes([int(named[1], 16)])
        return spelling.replace("\u2581", " ").encode()

    @cached_property
    def _is_byte_level(self) -> bool:
        decoder = orjson.loads(self._tokenizer.to_str()).get("decoder")
        return any(step["type"] == "ByteLevel" for step in _flat(decoder, "decoders"))

    def plain(self, text: str) -> list[int]:
        """The token ids of a text that is no conversation, as the tokenizer begins one."""
        ids: list[int] = self._encoded(text, is_whole=True).ids
        return ids

    def decode(self, tokens: list[int], kept: int | None = None) -> str:
        """The text of token ids, without special tokens but the one that is to be kept."""
        if kept is not None and kept in tokens:
            place = tokens.index(kept)
            after = self.decode(tokens[place + 1 :], kept)
            return self.decode(tokens[:place]) + str(self._tokenizer.id_to_token(kept)) + after
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def token_id(self, token: str) -> int | None:
        """The id of one token by its spelling."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def _encoded(self, text: str, *, is_whole: bool = False) -> Any:
        # A lone surrogate, which JSON can spell, is no text: it is sent as a question mark.
        clean = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer.encode(clean, add_special_tokens=is_whole)


class TokenCounter(ChatTokenizer):
    """Counts in the web process what the engine will count."""

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate, spec: Mapping[str, Any]
    ) -> None:
        """`spec` is the parsed `tokenizer.json`."""
        super().__init__(tokenizer, template)
        self._bytes_per_byte = _expansion(spec)
        self._longest_token = max(map(len, spec["model"]["vocab"]), default=1)
        self._base, self._per_message = self._frame_bytes()

    @classmethod
    def of_folder(cls, folder: Path) -> TokenCounter | None:
        """The counter of a model's folder; None where it has no `tokenizer.json`."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            return None
        template = ChatTemplate.of_folder(folder)
        return cls(Tokenizer.from_file(str(file)), template, read_json(file))

    def count(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """The tokens of the prompt, exactly. Raises InvalidRequest."""
        return len(self.encode(messages, tools))

    def exceeds(
        self,
        messages: Sequence[Mapping[str, Any]],
        limit: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> bool:
        """Whether the prompt has more than `limit` tokens.

        A byte-level tokenizer never makes more tokens than bytes: short conversations are settled
        by their size. Longer ones are tokenised piece by piece, no further than the limit.
        """
        is_plain = not tools and not any(message.get("tool_calls") for message in messages)
        if is_plain and self._bytes_per_byte and self._most_tokens(messages) <= limit:
            return False
        # Every message has a frame of tokens, so the first ones are nearly always enough.
        if self._bytes_per_byte and len(messages) > limit and self.exceeds(messages[:limit], limit):
            return True
        text = self._rendered(messages, tools)
        if self._bytes_per_byte and len(text) > limit * self._longest_token:
            return True
        count = torn = 0
        for piece, most_torn in pieces_of(text):
            count += len(self._encoded(piece))
            torn += most_torn
            if count - torn > limit:
                return True
        return count > limit and (not torn or len(self._encoded(text)) > limit)

    def _most_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int:
        size = 0
        for message in messages:
            content = message.get("content")
            text = content if isinstance(content, str) else text_of(content)
            role = message.get("role", "")
            size += len(role) + len(text)
            if not text.isascii() or not role.isascii():
                size += 3 * len(text) + 3 * len(role)
        return self._base + self._per_message * len(messages) + size * self._bytes_per_byte

    def _frame_bytes(self) -> tuple[int, int]:
        """What the template adds: bytes for a conversation, and bytes for each of its messages.

        Measured on sample conversations and doubled. A template that changes the text, or shows
        it twice, switches the bound off.
        """
        frames = []
        for roles in (["user"], ["system", "user"], ["user", "assistant", "user"]):
            try:
                text = self._template.render([{"role": r, "content": _PROBE} for r in roles])
            except InvalidRequest:  # some templates know no system message
                continue
            if text.count(_PROBE) != len(roles):
                self._bytes_per_byte = 0
            frames.append(len(text.encode()) - len(_PROBE.encode()) * len(roles))
        if not frames:
            self._bytes_per_byte = 0
        return 2 * max(frames, default=0), 2 * max(frames, default=0)


def pieces_of(text: str) -> Iterator[tuple[str, int]]:
    """The text in pieces, each with how many tokens more cutting it off may make at most."""
    start = 0
    while len(text) - start > _PIECE:
        match = _WORD_START.search(text, start + _PIECE // 2, start + _PIECE)
        end = match.start() if match is not None else start + _PIECE
        yield text[start:end], _TORN if match is None else 0
        start = end
    yield text[start:], 0


def _expansion(spec: Mapping[str, Any]) -> int:
    """How many bytes may be tokenised for one byte of text; 0 where tokens aren't bytes."""
    steps = _flat(spec.get("pre_tokenizer"), "pretokenizers")
    if spec["model"].get("type") != "BPE" or "ByteLevel" not in {step["type"] for step in steps}:
        return 0
    normalizers = {step["type"] for step in _flat(spec.get("normalizer"), "normalizers")}
    if not normalizers:
        return 1
    # No character grows more than threefold under NFC (Unicode Standard Annex 15).
    return 3 if normalizers == {"NFC"} else 0


def _flat(step: Mapping[str, Any] | None, parts: str) -> Sequence[Mapping[str, Any]]:
    if step is None:
        return ()
    return step[parts] if step["type"] == "Sequence" else (step,)
