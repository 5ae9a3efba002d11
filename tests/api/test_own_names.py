import pytest

from gateway.api.own_names import in_messages_words, own_names
from gateway.core.request import Wire


@pytest.mark.parametrize(
    ("wire", "native", "places", "own"),
    [
        ("chat", None, ("reasoning_effort", "user"), ("reasoning_effort", "user")),
        ("responses", None, ("reasoning_effort", "user"), ("reasoning.effort", "user")),
        ("messages", b"{}", ("reasoning_effort", "user"), ("thinking", "metadata.user_id")),
        ("messages", b"{}", ("reasoning_effort", "thinking"), ("thinking",)),
        (
            "messages",
            b'{"output_config":{"effort":"low"}}',
            ("reasoning_effort",),
            ("output_config.effort",),
        ),
    ],
)
def test_places_have_the_names_of_the_clients_own_body(
    wire: Wire, native: bytes | None, places: tuple[str, ...], own: tuple[str, ...]
) -> None:
    assert own_names(places, wire, native) == own


def test_an_error_speaks_of_the_field_that_was_sent() -> None:
    said = "No deployment can serve this (a: needs_json_schema (response_format)); stop."
    own = "No deployment can serve this (a: needs_json_schema (output_config.format)); stop."
    assert in_messages_words(said, "response_format") == own
    assert in_messages_words("Invalid 'stop'.", "stop") == "Invalid 'stop_sequences'."
    assert in_messages_words(said, "messages") == said
    assert in_messages_words(said, None) == said
