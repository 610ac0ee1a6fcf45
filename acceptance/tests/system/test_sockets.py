"""Bytes of a connection as answers: a body after HEAD is seen, and so is an answer that is cut short."""

import pytest

from acceptance.system.sockets import answers

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    found = answers(HEAD + HEAD + HEAD + b"{}", heads=2)
    assert [(answer.status, answer.body) for answer in found] == [(200, b""), (200, b""), (200, b"{}")]


@pytest.mark.parametrize("received", [HEAD + b"{}", HEAD + b"{}" + HEAD + b"{}"])
def test_a_body_after_head_fails(received: bytes) -> None:
    with pytest.raises(AssertionError, match="a body after HEAD"):
        answers(received, heads=1)


def test_an_answer_that_is_cut_short_is_none() -> None:
    with pytest.raises(ValueError, match="cut short"):
        answers(HEAD + b"{")
