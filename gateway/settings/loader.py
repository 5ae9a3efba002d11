"""Reads the YAML file and says, for each thing wrong, where it is and what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError

from gateway.settings.model import Settings

DEFAULT_PATH = Path("config/gateway.yaml")

Document = TypeVar("Document", bound=BaseModel)


class ConfigError(Exception):
    """The configuration is refused; `problems` has one line for each thing wrong."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join([f"{source}: configuration refused", *problems]))
        self.source = source
        self.problems = tuple(problems)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently keep the last one."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 (PyYAML's own signature)
    ) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} stands twice, the second time on line {line}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_settings(path: Path | None = None) -> Settings:
    """Read `path`, else `config/gateway.yaml` here, else the defaults.

    Raises ConfigError with every problem that was found.
    """
    if path is None:
        if not DEFAULT_PATH.is_file():
            return Settings()
        path = DEFAULT_PATH
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(str(path), [f"can't be read: {reason}"]) from error
    return parse_settings(text, source=str(path))


def parse_settings(text: str, *, source: str = "configuration") -> Settings:
    """Turn YAML text into settings; an empty text gives the defaults. Raises ConfigError."""
    return parse_document(text, Settings, source=source)


def parse_document(text: str, kind: type[Document], *, source: str) -> Document:
    """Turn YAML text into a model. Raises ConfigError with every problem that was found."""
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(source, [f"not valid YAML: {_one_line(error)}"]) from error
    except RecursionError as error:
        raise ConfigError(source, ["not valid YAML: nested too deeply"]) from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(source, ["the file must hold keys and values at its top level"])
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = [_describe(dict(problem), kind) for problem in error.errors(include_url=False)]
        raise ConfigError(source, problems) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _describe(problem: dict[str, Any], kind: type[BaseModel]) -> str:
    location: tuple[int | str, ...] = problem["loc"]
    path = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggestion(location, kind)}"
    if problem["type"] == "missing":
        return f"{path}: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if isinstance(problem.get("input"), str | int | float) and problem["type"] != "value_error":
        message = f"{message} (got {problem['input']!r})"
    return f"{path}: {message}" if path else message


def _suggestion(location: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    known = sorted(_fields_at(location[:-1], kind))
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _fields_at(location: tuple[int | str, ...], kind: type[BaseModel]) -> list[str]:
    """The keys that the section at `location` knows."""
    annotation: Any = kind
    if issubclass(kind, RootModel):
        annotation = kind.model_fields["root"].annotation
    for part in location:
        model = _section_in(annotation)
        if model is not None and isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
        else:  # an index of a list, or a free name in a mapping
            arguments = [arg for arg in get_args(annotation) if arg is not Ellipsis]
            annotation = arguments[-1] if arguments else None
    section = _section_in(annotation)
    return list(section.model_fields) if section is not None else []


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType}:
        sections = [_section_in(arg) for arg in get_args(annotation)]
        return next((section for section in sections if section is not None), None)
    return None
