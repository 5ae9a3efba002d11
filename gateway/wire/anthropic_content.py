"""Parts of a chat message and Anthropic's content blocks, both ways.

What neither side names (`search_result`, a server tool's blocks, `cache_control`) passes untouched.
An image's `detail` and OpenAI's `prompt_cache_breakpoint` have no counterpart, nor have citations
of a document.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from gateway.core.errors import CapabilityMissing, InvalidRequest
from gateway.wire.json_objects import (
    Json,
    check_optional,
    compact,
    object_at,
    objects_at,
    text_at,
    without,
)

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)
_WEB = ("http://", "https://")
_PDF = "application/pdf"
#: Sources, by block, that a chat has words for, save a file in Anthropic's store.
TRANSLATED_SOURCES = {
    "image": frozenset({"base64", "url"}),
    "document": frozenset({"base64", "url", "text", "content"}),
}
#: Blocks that stand only in the turns that they are of.
_OF_TURNS = frozenset({"thinking", "redacted_thinking", "tool_use", "tool_result"})


def blocks_of(content: object, param: str) -> list[Json]:
    """A chat message's content as blocks. Blank texts are left out: Anthropic refuses them."""
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts = objects_at(content, param)
    blocks = (_block(part, f"{param}[{index}]") for index, part in enumerate(parts))
    return [block for block in blocks if block.get("type") != "text" or block["text"].strip()]


def _block(part: Json, param: str) -> Json:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": text_at(part, "text", param), **_rest(part, "text")}
        case "refusal":
            text = text_at(part, "refusal", param)
            return {"type": "text", "text": text, **_rest(part, "refusal")}
        case "image_url":
            source = _image_source(part, param)
            return {"type": "image", "source": source, **_rest(part, "image_url")}
        case "file":
            return _document(part, param)
        case "input_audio":
            raise CapabilityMissing("The model that was chosen can't hear audio.", param=param)
        case _:
            return part


def _rest(holder: Mapping[str, Any], *read: str) -> Json:
    """What stays on a part as it is, in either form."""
    return without(holder, "type", "prompt_cache_breakpoint", *read)


def _image_source(part: Json, param: str) -> Json:
    image = part.get("image_url")
    url = image if isinstance(image, str) else None
    if url is None:
        url = text_at(object_at(image, f"{param}.image_url"), "url", f"{param}.image_url")
    if url.startswith(_WEB):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, param)
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    return {"type": "base64", "media_type": media_type, "data": data}


def _data_url(url: str, param: str) -> tuple[str, str]:
    """The media type and the base64 text of a data URL."""
    parts = _DATA_URL.fullmatch(url)
    if parts is None or "base64" not in parts[2].split(";"):
        raise InvalidRequest("Expected an http(s) URL or a base64 data URL.", param=param)
    return parts[1].lower(), parts[3]


def _document(part: Json, param: str) -> Json:
    file = object_at(part.get("file"), f"{param}.file")
    name = file.get("filename")
    title = {"title": name} if isinstance(name, str) and name else {}
    source = _document_source(file, param)
    return {"type": "document", "source": source, **title, **_rest(part, "file")}


def _document_source(file: Json, param: str) -> Json:
    if isinstance(file.get("file_id"), str):
        return {"type": "file", "file_id": file["file_id"]}
    data = text_at(file, "file_data", f"{param}.file")
    if data.startswith(_WEB):
        return {"type": "url", "url": data}
    media_type, data = _data_url(data, param) if data.startswith("data:") else (_PDF, data)
    if not media_type.startswith("text/"):
        return {"type": "base64", "media_type": media_type, "data": data}
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidRequest("The file's data is not base64 of UTF-8 text.", param=param) from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def parts_of(content: object, param: str) -> list[Json]:
    """Anthropic's content, a string or blocks, as a chat message's parts.

    A document's plain text becomes a text part, its title before it.
    """
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    parts: list[Json] = []
    for index, block in enumerate(objects_at(content, param)):
        parts += parts_of_block(block, f"{param}[{index}]")
    return parts


def parts_of_block(block: Json, param: str) -> list[Json]:
    """One of Anthropic's content blocks as a chat message's parts."""
    check_optional(block, param, cache_control=dict)
    match block.get("type"):
        case "text":
            return [{"type": "text", "text": text_at(block, "text", param), **_rest(block, "text")}]
        case "image":
            return [_image_part(block, param)]
        case "document":
            return _document_parts(block, param)
        case None:
            raise InvalidRequest(f"The parameter '{param}.type' is missing.", param=f"{param}.type")
        case kind if kind in _OF_TURNS:
            raise InvalidRequest(f"'{param}' can't be a block of type {kind!r}.", param=param)
        case _:
            return [block]


def _image_part(block: Json, param: str) -> Json:
    source = object_at(block.get("source"), f"{param}.source")
    if text_at(source, "type", f"{param}.source") not in TRANSLATED_SOURCES["image"]:
        return block
    return {
        "type": "image_url",
        "image_url": {"url": _url_of(source, f"{param}.source")},
        **_rest(block, "source"),
    }


def _url_of(source: Json, param: str) -> str:
    if source.get("type") == "url":
        return text_at(source, "url", param)
    media_type, data = text_at(source, "media_type", param), text_at(source, "data", param)
    return f"data:{media_type};base64,{data}"


def _document_parts(block: Json, param: str) -> list[Json]:
    source = object_at(block.get("source"), f"{param}.source")
    check_optional(block, param, title=str, context=str, citations=dict)
    title, context = block.get("title") or None, block.get("context") or None
    headings = [text for text in (title, context) if text is not None]
    rest = _rest(block, "source", "title", "context", "" if cites(block) else "citations")
    match text_at(source, "type", f"{param}.source"):
        case "text":
            texts = [*headings, text_at(source, "data", f"{param}.source")]
            return [{"type": "text", "text": "\n\n".join(texts), **rest}]
        case "content":
            parts = parts_of(source.get("content"), f"{param}.source.content")
            return [*_heading(headings), *parts[:-1], *({**last, **rest} for last in parts[-1:])]
        case "file":
            file: Json = {"file_id": text_at(source, "file_id", f"{param}.source")}
        case "base64" | "url":
            file = {"file_data": _url_of(source, f"{param}.source")}
        case _:
            return [block]
    named = {} if title is None else {"filename": title}
    heading = _heading(headings[len(named) :])
    return [*heading, {"type": "file", "file": {**file, **named}, **rest}]


def _heading(texts: list[str]) -> list[Json]:
    return [{"type": "text", "text": "\n\n".join(texts)}] if texts else []


def cites(block: Mapping[str, Any]) -> bool:
    """Whether a document asks for citations of it."""
    citations = block.get("citations")
    return isinstance(citations, dict) and bool(citations.get("enabled"))


def result_parts(content: object, param: str) -> tuple[list[Json], list[Json]]:
    """A tool result as text parts, and the images and files that a tool message can't hold.

    Blocks that neither side names are kept as JSON text.
    """
    texts: list[Json] = []
    attachments: list[Json] = []
    for part in [] if content is None else parts_of(content, param):
        match part.get("type"):
            case "text":
                texts.append(part)
            case "image_url" | "file":
                attachments.append(part)
            case _:
                mark = part.get("cache_control")
                text = compact(without(part, "cache_control"))
                marked = {} if mark is None else {"cache_control": mark}
                texts.append({"type": "text", "text": text, **marked})
    return texts, attachments


def folded(parts: list[Json]) -> str | list[Json]:
    """One plain text as a string; anything else as it is."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts
