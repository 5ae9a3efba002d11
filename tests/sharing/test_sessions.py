"""The newest answer to a conversation counts, wherever it was given."""

import orjson

from gateway.routing.affinity import Sessions
from gateway.sharing.names import Described, SharedNames
from gateway.sharing.sessions import SharedSessions

NAMES = [Described("small", "local", "m"), Described("large", "openai", "gpt", "https://a/v1")]
CHAT = ("key", "c-1")


class Process:
    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.now = 500.0
        self.sessions = Sessions(ttl_s=100, most=10, clock=lambda: self.now)
        names = SharedNames(NAMES)
        self.shared = SharedSessions(names, self.sessions.learn, keep_s=100, most=10)

    def answer(self, deployment: str) -> None:
        self.sessions.answered(CHAT, deployment)
        self.shared.answered(*CHAT, deployment)

    def tell(self, other: "Process", age_s: float = 0) -> None:
        events = [[1000.0 - age_s, *body] for _, body in self.shared.topic.next_batch()]
        other.shared.topic.read("1-0", orjson.dumps(events), self.sender, other.sender, 1000.0)


def test_a_conversation_is_known_elsewhere_under_its_key_alone() -> None:
    one, two = Process("1"), Process("2")
    one.answer("large")
    one.tell(two)
    assert two.sessions.last(CHAT) == "large"
    assert two.sessions.last(("another key", "c-1")) is None


def test_an_older_answer_doesnt_replace_a_newer_one() -> None:
    one, two = Process("1"), Process("2")
    two.answer("small")
    one.answer("large")
    one.tell(two, age_s=5)
    assert two.sessions.last(CHAT) == "small"
    two.now += 6
    one.answer("large")
    one.tell(two, age_s=5)
    assert two.sessions.last(CHAT) == "large"


def test_an_answer_is_forgotten_when_it_is_old_wherever_it_was_given() -> None:
    one, two = Process("1"), Process("2")
    one.answer("large")
    one.tell(two, age_s=90)
    two.now += 9
    assert two.sessions.last(CHAT) == "large"
    two.now += 2
    assert two.sessions.last(CHAT) is None


def test_deployments_that_arent_shared_are_told_nobody() -> None:
    one = Process("1")
    one.answer("another")
    assert not one.shared.topic.has_news
