import email.utils
import time

import pytest

from gateway.backends.upstream_errors import refusal, retry_after_s


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "bad", "type": "t", "param": "p", "code": "c"}}', "bad"),
        (b'{"error": "just text"}', "just text"),
        (b'{"message": "top level"}', "top level"),
        (b'{"detail": "fastapi says"}', "fastapi says"),
        (b'[{"error": {"message": "in a list"}}]', "in a list"),
        (b"<html>Bad gateway</html>", "The upstream answered with status 400."),
        (b"", "The upstream answered with status 400."),
        (b'{"detail": [{"loc": ["body"]}]}', "The upstream answered with status 400."),
        (b"null", "The upstream answered with status 400."),
    ],
)
def test_the_message_is_found_in_every_shape(body: bytes, message: str) -> None:
    assert refusal(400, {}, body, secret=None).message == message


def test_type_param_and_code_are_kept() -> None:
    body = b'{"error": {"message": "m", "type": "t", "param": "p", "code": 17}}'
    error = refusal(422, {}, body, secret=None)
    assert (error.error_type, error.param, error.code, error.status) == ("t", "p", "17", 422)


def test_our_key_is_never_repeated() -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-secret-key."}}'
    assert "sk-secret-key" not in refusal(401, {}, body, secret="sk-secret-key").message


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (408, True), (409, True), (429, True), (500, True), (503, True), (422, False)],
)
def test_what_is_worth_another_try(status: int, retryable: bool) -> None:
    assert refusal(status, {}, b"", secret=None).retryable is retryable


def test_when_to_try_again() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "3"}) == 3
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after": "inf"}) is None
    assert retry_after_s({"retry-after-ms": "nan"}) is None
    date = email.utils.formatdate(time.time() + 10, usegmt=True)
    wait_s = retry_after_s({"retry-after": date})
    assert wait_s is not None
    assert 8 <= wait_s <= 11
