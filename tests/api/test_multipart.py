import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.multipart import field_spans
from gateway.core.errors import InvalidRequest


def form(
    fields: dict[str, str], files: dict[str, tuple[str, bytes]] | None = None
) -> tuple[bytes, str]:
    """A form as an independent client writes it."""
    parts = {name: (None, value.encode()) for name, value in fields.items()}
    request = httpx.Request("POST", "http://x", files={**parts, **(files or {})})
    return request.read(), request.headers["content-type"]


def values(body: bytes, content_type: str) -> dict[str, bytes]:
    return {name: body[slice(*span)] for name, span in field_spans(body, content_type).items()}


@given(
    st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), st.text(max_size=30), max_size=5),
    st.binary(max_size=200),
)
def test_every_field_is_found_where_it_stands(fields: dict[str, str], content: bytes) -> None:
    body, content_type = form(fields, {"file0": ("a\r\n.bin", content)})
    expected = {name: value.encode() for name, value in fields.items()}
    assert values(body, content_type) == {**expected, "file0": content}


def test_the_first_of_several_counts_and_a_file_that_looks_like_a_field_does_not() -> None:
    inner = b'--y\r\ncontent-disposition: form-data; name="model"\r\n\r\nevil\r\n--y--'
    body = (
        b'preamble\r\n--x y\r\nContent-Disposition: form-data; filename="name=model"; name="f"\r\n'
        b"\r\n" + inner + b'\r\n--x y\r\ncontent-disposition: form-data; name="model"\r\n'
        b"Content-Type: text/plain\r\n\r\none\r\n--x y\r\n"
        b'content-disposition: form-data; name="model"\r\n\r\ntwo\r\n--x y--\r\nepilogue'
    )
    assert values(body, 'multipart/form-data; boundary="x y"') == {"f": inner, "model": b"one"}


def test_a_field_that_says_what_is_paid_for_stands_once() -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
    body = part % b"cheap" + part % b"dear" + b"--x--\r\n"
    with pytest.raises(InvalidRequest) as refused:
        field_spans(body, "multipart/form-data; boundary=x", once=frozenset({"model"}))
    assert refused.value.param == "model"


def test_only_the_boundary_itself_is_one() -> None:
    body = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\none\r\n--x--\r\n'
    assert values(body, "multipart/form-data; no-boundary=y; boundary=x") == {"model": b"one"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb', "a/b; boundary=x"),
        (b"no such line", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--', "a/b"),
    ],
)
def test_what_is_no_form_has_no_fields(body: bytes, content_type: str) -> None:
    assert values(body, content_type) == {}


@given(st.binary(max_size=300))
def test_no_bytes_confuse_it(body: bytes) -> None:
    for start, end in field_spans(b"--x\r\n" + body, "multipart/form-data; boundary=x").values():
        assert 0 <= start <= end <= len(body) + 5
