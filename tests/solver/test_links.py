"""The connections between processes; here between threads."""

from __future__ import annotations

import json
import queue
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.solver import links as module
from caffecompat.solver.links import connect


class Board:
    """Gives all the text of the first one."""

    def __init__(self) -> None:
        self._text: queue.Queue[str] = queue.Queue()

    def first(self, text: str) -> str:
        self._text.put(text)
        return text

    def other(self, text: str) -> str:
        told = self._text.get(timeout=10)
        self._text.put(told)
        return told


@pytest.mark.parametrize("master", ["127.0.0.1", "localhost", socket.gethostname()])
def test_each_has_a_connection_to_the_first(master):
    board = Board()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(connect, 0, 3, master, board.first)
        others = [pool.submit(connect, rank, 3, master, board.other) for rank in (1, 2)]
        made = first.result(20)
        assert sorted(made) == [1, 2]
        for rank, other in zip((1, 2), others, strict=True):
            own = other.result(20)
            assert list(own) == [0]
            own[0].sendall(b"it is %d" % rank)
            assert made[rank].recv(100) == b"it is %d" % rank
            assert made[rank].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            own[0].close()
            made[rank].close()


def test_strangers_are_turned_away():
    board = Board()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(connect, 0, 2, "127.0.0.1", board.first)
        port = json.loads(board.other(""))["port"]
        for said in (b"GET / HTTP/1.0\r\n\r\n", b"00112233445566778899aabbccddeeff 1\n", b"\xff" * 5000 + b"\n", b""):
            # It may be turned away before it has said all.
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(100) == b""
        own = pool.submit(connect, 1, 2, "127.0.0.1", board.other).result(20)
        made = first.result(20)
        assert list(made) == [1]
        made[1].close()
        own[0].close()


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(module, "ALL", 0.2)
    with pytest.raises(CaffeCompatError, match="worker 1, 2 did not connect to worker 0 within"):
        connect(0, 3, "127.0.0.1", lambda text: text)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = json.dumps({"places": ["127.0.0.1"], "port": port, "token": "x"})
    with pytest.raises(CaffeCompatError, match=f"worker 1 cannot connect to worker 0 at 127.0.0.1, port {port}"):
        connect(1, 2, "127.0.0.1", lambda text: told)
