"""What a topic keeps for Redis, and what it has Redis keep."""

import orjson

from gateway.sharing.topic import Event, Topic


def topic(**given: float) -> tuple[Topic, list[Event]]:
    taken: list[Event] = []
    most = int(given.get("most", 10))
    return Topic("t", keep_s=given.get("keep_s", 60), most=most, take=taken.append), taken


def test_a_batch_that_could_not_be_told_comes_first_again() -> None:
    one, _ = topic()
    for number in range(250):
        one.tell([number])
    batch = one.next_batch()
    assert len(batch) == 200
    one.put_back(batch)
    assert [body for _, body in one.next_batch()] == [[number] for number in range(200)]
    assert [body for _, body in one.next_batch()] == [[number] for number in range(200, 250)]
    assert not one.has_news


def test_ages_are_differences_on_one_clock() -> None:
    one, taken = topic()
    one.read("5-0", orjson.dumps([[990.0, "a"], [1000.5, "b"], [930.0, "too old"]]), "x", "y", 1000)
    assert [(list(event.body), event.age_s) for event in taken] == [(["a"], 10), (["b"], 0)]


def test_redis_keeps_as_many_events_as_are_wanted_and_none_that_is_too_old() -> None:
    one, _ = topic(most=5)
    assert one.oldest_kept(1000.0) == "940000-0"
    for number in range(9, 20):
        one.read(f"99{number:04}-0", orjson.dumps([[1000.0, 1], [1000.0, 2]]), "x", "y", 1000)
    assert one.oldest_kept(1000.0) == "990018-0"
    one.begin_again()
    assert one.oldest_kept(1000.0) == "940000-0"
