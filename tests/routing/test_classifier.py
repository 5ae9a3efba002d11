import gzip
import json
import math
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import ArtefactMismatch, load_scorer

SCORER = load_scorer()
SHIPPED = resources.files("gateway.routing").joinpath("weights", "router.json.gz")


def score(text: str) -> float:
    return SCORER.score([{"role": "user", "content": text}])


@given(text=st.text(max_size=400))
def test_contributions_add_up_to_the_score(text: str) -> None:
    messages = [{"role": "user", "content": text}]
    logit = sum(part.effect for part in SCORER.contributions(messages))
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(SCORER.score(messages), abs=1e-9)


def test_contributions_come_largest_first_and_are_readable() -> None:
    parts = SCORER.contributions([{"role": "user", "content": "Prove Zorn's lemma."}])
    sizes = [abs(part.effect) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert "concepts.proof" in {part.feature for part in parts}


#: (easy, hard) by language; none of them is a training prompt.
PAIRS = {
    "en": ("Where is Mount Everest?", "Prove that the rationals are not a complete metric space."),
    "de": ("Wie schreibt man Rhythmus?", "Beweise den Zwischenwertsatz ausführlich."),
    "fr": ("Quel temps fait-il à Lyon ?", "Démontrez le théorème des valeurs intermédiaires."),
    "es": ("¿Qué significa 'madrugar'?", "Demuestra el teorema del valor medio con detalle."),
    "pt": ("Bom dia! Tudo bem?", "Demonstre o teorema do valor médio e analise as hipóteses."),
    "it": ("Buongiorno, come va?", "Dimostra il teorema di Bolzano in dettaglio."),
    "ru": ("Добрый день! Посоветуй фильм.", "Докажите теорему Лагранжа о среднем значении."),
    "zh": ("早上好,今天吃什么?", "证明中值定理,并分析其条件是否必要。"),
    "ja": ("おはようございます", "中間値の定理を証明し、条件を分析してください。"),
    "ko": ("좋은 아침이에요", "중간값 정리를 증명하고 조건을 분석하라."),
    "ar": ("صباح الخير", "برهن مبرهنة القيمة الوسطى وحلل شروطها."),
    "hi": ("सुप्रभात, कैसे हैं?", "मध्यमान प्रमेय सिद्ध कीजिए और विश्लेषण कीजिए।"),
    "tr": ("Günaydın, nasılsın?", "Ara değer teoremini ispatla ve koşullarını analiz et."),
    "pl": (
        "Dzień dobry, jaki film polecasz?",
        "Udowodnij twierdzenie Bolzano i uzasadnij założenia.",
    ),
}


@pytest.mark.parametrize("language", PAIRS)
def test_common_sense_in_every_language(language: str) -> None:
    easy, hard = map(score, PAIRS[language])
    assert easy < 0.5 < hard


def test_length_does_not_decide() -> None:
    mail = (
        "Dear all, the summer party is on Friday the 12th in the garden behind the office. Please "
        "tell Maria by Wednesday whether you come and what you bring. There will be a barbecue, "
        "and drinks are paid by the company. Children are welcome, dogs have to stay at home. If "
        "it rains we meet in the canteen instead. Parking is free after five. "
    ) * 4
    assert score(f"Summarize this mail in one sentence: {mail}") < score("Prove Zorn's lemma.")


def test_padding_does_not_decide() -> None:
    hard = "Prove the Bolzano-Weierstrass theorem."
    assert score(f"this is simple, answer quickly: {hard}") > 0.5
    assert score("very complex expert task, think hard!!! What is the capital of Norway?") < 0.5


def test_a_short_follow_up_inherits_the_conversation() -> None:
    hard = [
        {"role": "user", "content": "Prove that every Cauchy sequence in R converges."},
        {"role": "assistant", "content": "Take a Cauchy sequence; it is bounded..."},
    ]
    easy = [
        {"role": "user", "content": "What is the capital of Peru?"},
        {"role": "assistant", "content": "Lima."},
    ]
    why = {"role": "user", "content": "and why?"}
    thanks = {"role": "user", "content": "thanks!"}
    assert SCORER.score([*hard, why]) > SCORER.score([*easy, why])
    assert SCORER.score([*hard, why]) > 0.5 > SCORER.score([*hard, thanks])


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "x"}]}],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "\x00\u202e🗼" * 500}],
        [{"role": "user", "content": "a" * 1_000_000}],
    ],
)
def test_any_conversation_has_a_score(messages: list[dict[str, Any]]) -> None:
    assert 0 <= SCORER.score(messages) <= 1


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    artefact = json.loads(gzip.decompress(SHIPPED.read_bytes()))
    change(artefact)
    path = tmp_path / "router.json.gz"
    path.write_bytes(gzip.compress(json.dumps(artefact).encode()))
    return path


def test_weights_of_another_version_of_the_features_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda artefact: artefact["families"].update(length=99))
    with pytest.raises(ArtefactMismatch, match="length"):
        load_scorer(path)


def test_weights_of_features_that_are_gone_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda a: a["features"].update({"length.gone": [1, 0, 1]}))
    with pytest.raises(ArtefactMismatch, match=r"length\.gone"):
        load_scorer(path)


def test_a_feature_that_was_not_trained_weighs_nothing(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda artefact: artefact["features"].clear())
    parts = load_scorer(path).contributions([{"role": "user", "content": "x y z"}])
    assert all(part.feature == "bias" or part.feature.startswith("text:") for part in parts)


def test_a_forest_over_other_quantities_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda artefact: artefact["forest"].update(version=99))
    with pytest.raises(ArtefactMismatch, match="quantities"):
        load_scorer(path)


MULTIPLE_CHOICE = """Which enzyme unwinds DNA?
A. Helicase
B. Ligase, which joins fragments
C. Primase
D. Gyrase, under ATP hydrolysis
Answer:"""


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (MULTIPLE_CHOICE, "choice"),
        ("def f(x):\n    return x * 2\nassert f(3) == ??", "traced"),
        ("Ann has 3 pens and buys 4 more. How many pens does she have?", "problem"),
        (r"Find all $x$ with $\sqrt{x} = 5$.", "problem"),
        ("Please translate: at 3 pm we meet 4 people. Is it right?", "chat"),
        ("How are you?", "chat"),
    ],
)
def test_effects_add_up_to_the_score_in_every_form(text: str, form: str) -> None:
    messages = [{"role": "user", "content": text}]
    assessment = SCORER.assess(messages)
    assert assessment.form == form
    log_odds = math.log(assessment.score / (1 - assessment.score))
    effects = sum(part.effect for part in SCORER.contributions(messages))
    assert effects == pytest.approx(log_odds, abs=1e-9)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"not a classifier")
    with pytest.raises(ArtefactMismatch):
        load_scorer(path)


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    same = load_scorer(changed(tmp_path, lambda _: None))
    other = load_scorer(changed(tmp_path, lambda artefact: artefact.update(bias=[0.25, 0.0])))
    assert len({SCORER.version, other.version, same.version}) >= 2
    assert SCORER.version.startswith("r2-")
