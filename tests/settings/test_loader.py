from pathlib import Path

import pytest

from gateway.settings import ConfigError, Settings, load_settings
from gateway.settings.loader import parse_settings

REPOSITORY = Path(__file__).parents[2]


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routing: {treshold: 0.5}", "routing.treshold: unknown key, did you mean threshold?"),
        ("sever: {port: 1}", "sever: unknown key, did you mean server?"),
        (
            "routing: {policies: {mine: {threshhold: 0.5}}}",
            "routing.policies.mine.threshhold: unknown key, did you mean threshold?",
        ),
        (
            "routing: {policies: {mine: {cascade: {hold_token: 5}}}}",
            "routing.policies.mine.cascade.hold_token: unknown key, did you mean hold_tokens?",
        ),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m, price: {ouput: 1}}]",
            "deployments.0.price.ouput: unknown key, did you mean output?",
        ),
        ("deployments: [{tier: small, backend: local, model: m}]", "deployments.0.name: missing"),
    ],
)
def test_a_wrong_key_is_refused_with_its_path_and_a_suggestion(text: str, problem: str) -> None:
    assert problem in problems_of(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("server: {port: 70000}", "server.port"),
        ("server: {port: http}", "server.port"),
        ("server: {max_body_mb: .nan}", "server.max_body_mb"),
        ("routing: {threshold: 1.5}", "routing.threshold"),
        ("routing: {policies: {p: {target: {quality: 2}}}}", "routing.policies.p.target.quality"),
        (
            "routing: {policies: {p: {cascade: {hold_tokens: 0}}}}",
            "routing.policies.p.cascade.hold_tokens",
        ),
        (
            "routing: {policies: {p: {cascade: {min_confidence: 1.1}}}}",
            "routing.policies.p.cascade.min_confidence",
        ),
        ("ledger: {url: 'mysql://x'}", "ledger.url"),
        (
            "deployments: [{name: a, tier: big, backend: local, model: m}]",
            "deployments.0.tier",
        ),
        (
            "deployments: [{name: a, tier: large, backend: openai, model: m, "
            "base_url: 'https://key@host/v1'}]",
            "deployments.0.base_url",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_path(text: str, path: str) -> None:
    assert any(problem.startswith(f"{path}:") for problem in problems_of(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "'a' stands twice, the second time on line 2"),
        ("server: [", "not valid YAML"),
        ("- 1", "keys and values at its top level"),
        ("deployments: []", "at least one is needed"),
        ("routing: {default_policy: fast}", "'fast' is none of: balanced, cheap, quality"),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m},"
            "{name: b, aliases: [a], tier: small, backend: local, model: m}]",
            "used twice: a",
        ),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m, adapters: {a: x}}]",
            "used twice: a",
        ),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m, adapters: {auto: x}}]",
            "an adapter can't be called auto",
        ),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m, serves: embeddings, "
            "adapters: {b: x}}]",
            "adapters are for local models that chat",
        ),
        ("deployments: [{name: auto, tier: small, backend: local, model: m}]", "means routing"),
        ("deployments: [{name: a, tier: large, backend: openai, model: m}]", "base_url is needed"),
        (
            "deployments: [{name: a, tier: small, backend: local, model: m, "
            "price: {usd_per_hour: 1, input: 1, output: 1}}]",
            "not both",
        ),
        ("routing: {policies: {balanced: {threshold: 1, target: {quality: 1}}}}", "not both"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(text: str, words: str) -> None:
    assert words in " ".join(problems_of(text))


def test_every_problem_is_reported_at_once() -> None:
    assert len(problems_of("server: {port: -1, hots: x}\nledgr: {}")) == 3


def test_an_empty_file_is_the_defaults() -> None:
    assert parse_settings("") == Settings()


def test_the_documented_file_holds_exactly_the_defaults() -> None:
    assert load_settings(REPOSITORY / "config" / "gateway.yaml") == Settings()


def test_the_documented_file_names_every_key() -> None:
    import yaml

    document = yaml.safe_load((REPOSITORY / "config" / "gateway.yaml").read_text())
    for section, model in Settings.model_fields.items():
        fields = getattr(model.annotation, "model_fields", None)
        if fields is not None:
            assert document[section].keys() == fields.keys()
    documented = {key for entry in document["deployments"] for key in entry}
    from gateway.settings import DeploymentSettings

    assert documented == DeploymentSettings.model_fields.keys()


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_settings(tmp_path / "absent.yaml")


def test_without_a_path_the_file_in_the_current_folder_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings() == Settings()
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gateway.yaml").write_text("server: {port: 9}")
    assert load_settings().server.port == 9


def test_an_empty_cascade_means_the_documented_figures() -> None:
    policies = parse_settings("routing: {policies: {balanced: {cascade: {}}}}").routing.policies
    cascade = policies["balanced"].cascade
    assert cascade is not None
    assert (cascade.hold_tokens, cascade.min_confidence) == (24, 0.6)
    documented = (REPOSITORY / "config" / "gateway.yaml").read_text(encoding="utf-8")
    assert "cascade: {hold_tokens: 24, min_confidence: 0.6}" in documented


@pytest.mark.parametrize(("host", "address"), [("::", "[::]"), ("127.0.0.1", "127.0.0.1")])
def test_a_servers_address_is_a_url(host: str, address: str) -> None:
    assert parse_settings(f"server: {{host: '{host}'}}").server.url == f"http://{address}:8080"
