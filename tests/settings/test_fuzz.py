"""Whatever stands in the file: settings, or a refusal that names a path."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings import ConfigError, Settings
from gateway.settings.loader import parse_settings

KEYS = sorted(set(Settings.model_fields) | {"port", "name", "threshold", "url", "x"})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.sampled_from(["local", "openai", "small", "sqlite:///x.db", "http://h/v1", "auto", "1e999"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.one_of(st.sampled_from(KEYS), SCALARS), inner, max_size=4)
    ),
    max_leaves=12,
)


def loaded(text: str) -> Settings | None:
    try:
        return parse_settings(text)
    except ConfigError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)
        return None


@settings(max_examples=300, deadline=None)
@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_document(document: dict[Any, Any]) -> None:
    loaded(yaml.safe_dump(document, allow_unicode=True))


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text(text: str) -> None:
    loaded(text)


@settings(max_examples=200, deadline=None)
@given(
    section=st.sampled_from(sorted(Settings.model_fields)),
    key=st.sampled_from(KEYS),
    value=VALUES,
)
def test_a_wrong_value_anywhere(section: str, key: str, value: Any) -> None:
    loaded(yaml.safe_dump({section: {key: value}}, allow_unicode=True))
