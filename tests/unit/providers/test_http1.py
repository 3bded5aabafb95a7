"""Answers on the wire, in whatever pieces they come: as h11 reads them, or refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers.deadline import Deadline
from shared.providers.http1 import (
    BrokenOffError,
    NotHttpError,
    Response,
    UnsendableError,
    head_of,
)
from shared.providers.patience import Patience

COUNTED = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nX-Two:  a b \t\r\n\r\nhello world"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"5;note=x\r\nhello\r\n006 \r\n world\r\n0\r\ntrailer: y\r\n\r\n"
)
UNTIL_CLOSED = b"HTTP/1.1 200 \r\nx: y\r\n\r\nhello world"
AFTER_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\nx: y\r\n\r\n" + COUNTED
ANSWERS = (COUNTED, CHUNKED, UNTIL_CLOSED, AFTER_CONTINUE)


class Wire:
    """A connection on which these pieces arrive, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]

    def receive(self, _patience: Patience) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def read(*pieces: bytes) -> tuple[Response, bytes]:
    wire: Any = Wire(*pieces)
    response = Response(wire, Patience(Deadline.after(60), 60, 60))
    return response, b"".join(response.pieces())


def read_by_h11(answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(answer)
    peer.receive_data(b"")
    status, headers, body = 0, {}, b""
    while type(event := peer.next_event()) is not h11.EndOfMessage:
        if isinstance(event, h11.Response):
            status, headers = event.status_code, dict(event.headers)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    return status, headers, body


@pytest.mark.parametrize("answer", ANSWERS)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_pieces_are_read_as_h11_reads_the_whole(answer: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(answer)) for cut in cuts} | {0, len(answer)})
    pieces = [answer[a:b] for a, b in pairwise(places)]
    response, body = read(*pieces)
    status, headers, expected = read_by_h11(answer)
    assert (response.status, body) == (status, expected)
    assert {name: value.lower() for name, value in response.headers.items()} == {
        name: value.lower() for name, value in headers.items()
    }


@pytest.mark.parametrize("answer", [COUNTED, CHUNKED, b"HTTP/1.1 204 None\r\n\r\n"])
def test_a_connection_is_used_again_after_an_answer_that_said_its_end(answer: bytes) -> None:
    assert read(answer)[0].is_reusable
    assert not read(answer + b"HTTP")[0].is_reusable, "what nobody asked for is in the way"
    closing = answer.replace(b"\r\n", b"\r\nConnection: Close\r\n", 1)
    assert not read(closing)[0].is_reusable
    old = answer.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert not read(old)[0].is_reusable
    assert read(old.replace(b"\r\n", b"\r\nconnection: keep-alive\r\n", 1))[0].is_reusable


def test_who_has_the_last_byte_need_not_ask_for_the_end() -> None:
    wire: Any = Wire(COUNTED)
    response = Response(wire, Patience(Deadline.after(60), 60, 60))
    assert not response.is_reusable
    assert next(response.pieces()) == b"hello world"
    assert response.is_reusable


def test_until_closed_is_the_last_answer_of_a_connection() -> None:
    assert not read(UNTIL_CLOSED)[0].is_reusable


@pytest.mark.parametrize("answer", [COUNTED, CHUNKED])
def test_an_answer_that_ends_early_is_broken_off(answer: bytes) -> None:
    for length in range(len(answer)):
        with pytest.raises(BrokenOffError):
            read(answer[:length])


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"0" * 200_000,
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(answer: bytes) -> None:
    with pytest.raises(NotHttpError):
        read(answer)


def test_the_same_length_twice_is_one_length() -> None:
    answer = COUNTED.replace(b"\r\n", b"\r\nContent-Length: 11\r\n", 1)
    assert read(answer)[1] == b"hello world"


def test_a_head_is_what_a_server_expects() -> None:
    head = head_of(b"/v1/x?y=z", [(b"Host", b"h"), (b"Authorization", b"Bearer \xe9")], 5)
    server = h11.Connection(h11.SERVER)
    server.receive_data(head + b"hello")
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/v1/x?y=z")
    assert dict(request.headers) == {
        b"host": b"h", b"authorization": b"Bearer \xe9", b"content-length": b"5",
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\n", b"a\x00", b"\x7f"])
def test_a_value_that_would_end_its_line_is_not_sent(value: bytes) -> None:
    with pytest.raises(UnsendableError):
        head_of(b"/", [(b"Authorization", value)], 0)
