from __future__ import annotations

import pytest

from infra.bench.load_client import build_request, take_answer

ANSWER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nx: y\r\n\r\nbody"


@pytest.mark.parametrize("cut", [0, 10, 40, len(ANSWER) - 1])
def test_part_of_an_answer_is_no_answer(cut: int) -> None:
    assert take_answer(ANSWER[:cut]) is None


def test_a_whole_answer_gives_its_status() -> None:
    assert take_answer(ANSWER) == 429


def test_an_answer_without_length_is_an_error_and_not_a_wait_for_ever() -> None:
    with pytest.raises(ValueError, match="content-length"):
        take_answer(b"HTTP/1.1 200 OK\r\n\r\n")


def test_requests_name_host_length_and_key() -> None:
    request = build_request(8000, "/p", {"authorization": "Bearer k"}, b'{"a":1}')
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.split(b"\r\n") == [
        b"POST /p HTTP/1.1",
        b"host: 127.0.0.1:8000",
        b"content-type: application/json",
        b"content-length: 7",
        b"authorization: Bearer k",
    ]
