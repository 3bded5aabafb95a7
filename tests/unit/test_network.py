"""Unit tests are kept honest."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_unit_test_cannot_open_a_network_socket(family: socket.AddressFamily) -> None:
    with pytest.raises(UserWarning, match=r"tried to use socket\.socket"):
        socket.socket(family)


def test_a_unit_test_cannot_ask_for_a_name() -> None:
    with pytest.raises(UserWarning, match=r"tried to use socket\.getaddrinfo"):
        socket.create_connection(("127.0.0.1", 9))
