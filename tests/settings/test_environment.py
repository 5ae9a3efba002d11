from pathlib import Path

from gateway.settings import Environment, Settings
from gateway.settings.loader import parse_settings


def test_client_keys_are_split_and_trimmed() -> None:
    environment = Environment({"GATEWAY_API_KEYS": " sk-a , ,sk-b,"})
    assert environment.client_keys(Settings()) == ("sk-a", "sk-b")
    assert Environment({}).client_keys(Settings()) == ()


def test_a_blank_secret_counts_as_unset() -> None:
    environment = Environment({"KEY": "  ", "OTHER": " value "})
    assert environment.secret("KEY") is None
    assert environment.secret("ABSENT") is None
    assert environment.secret("OTHER") == "value"


def test_no_secret_shows_in_repr() -> None:
    assert "sk-hidden" not in repr(Environment({"KEY": "sk-hidden"}))


def test_the_models_folder_comes_from_the_configuration() -> None:
    settings = parse_settings("models: {dir: /somewhere/models}")
    assert Environment({}).models_dir(settings) == Path("/somewhere/models")
    assert Environment({}).models_dir(Settings()).name == "models"
