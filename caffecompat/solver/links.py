"""Connections between the processes that train together: each has one to the first."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from caffecompat.errors import CaffeCompatError

# Seconds for one attempt to connect, and for all.
ATTEMPT = 10.0
ALL = 60.0
MAX_LINE = 1000
# A machine that does not answer is lost after 10 + 3 * 5 seconds.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


def connect(rank: int, world: int, master: str, tell: Callable[[str], str]) -> dict[int, socket.socket]:
    """Connect the processes.

    Args:
        rank: which of them this is.
        world: how many there are.
        master: the address of the machine where they met.
        tell: gives all processes the text that the first one calls it with.

    Returns:
        Of the first process a connection to each other, by rank; of the others one to the first.

    Raises:
        CaffeCompatError: no connection can be made.
    """
    if rank == 0:
        with _listener(_is_local(master)) as server:
            token = secrets.token_hex(16)
            port = server.getsockname()[1]
            tell(json.dumps({"places": _places(master), "port": port, "token": token}))
            return _accepted(server, world, token)
    told = json.loads(tell(""))
    for place in told["places"]:
        with suppress(OSError):
            return {0: _connected(place, told["port"], told["token"], rank)}
    raise CaffeCompatError(
        f"worker {rank} cannot connect to worker 0 at {' or '.join(told['places'])}, port {told['port']}",
        hint="the machines must reach each other on any port; a firewall between them must let them",
    )


def _is_local(master: str) -> bool:
    return master in ("localhost", "::1") or master.startswith("127.")


def _listener(local: bool) -> socket.socket:
    if local:
        return socket.create_server(("127.0.0.1", 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _places(master: str) -> list[str]:
    """Where the others may find this machine: its address on the way to `master`, that itself, its name."""
    if _is_local(master):
        return ["127.0.0.1"]
    found = []
    with suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(master, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Nothing is sent: the system only chooses the way.
            probe.connect(address)
            found.append(str(probe.getsockname()[0]))
    places = [*(place for place in found if not _is_local(place)), master, socket.gethostname()]
    return list(dict.fromkeys(places))


def _accepted(server: socket.socket, world: int, token: str) -> dict[int, socket.socket]:
    """The connections of all other processes; whoever does not know the token is turned away."""
    links: dict[int, socket.socket] = {}
    end = time.monotonic() + ALL
    while len(links) < world - 1:
        server.settimeout(max(end - time.monotonic(), 0.01))
        try:
            link, _ = server.accept()
        except TimeoutError:
            missing = ", ".join(str(rank) for rank in range(1, world) if rank not in links)
            raise CaffeCompatError(
                f"worker {missing} did not connect to worker 0 within {ALL:.0f} seconds",
                hint="the machines must reach each other on any port; a firewall between them must let them",
            ) from None
        try:
            link.settimeout(ATTEMPT)
            given, _, rank = _line(link).partition(" ")
            if not hmac.compare_digest(given.encode(), token.encode()) or not 0 < int(rank) < world:
                raise ValueError(rank)
            link.sendall(b"welcome\n")
            links[int(rank)] = _lasting(link)
        except (OSError, ValueError):
            link.close()
    return links


def _connected(place: str, port: int, token: str, rank: int) -> socket.socket:
    link = socket.create_connection((place, port), timeout=ATTEMPT)
    try:
        link.sendall(f"{token} {rank}\n".encode())
        if _line(link) != "welcome":
            raise OSError("another answer than expected")
    except OSError:
        link.close()
        raise
    return _lasting(link)


def _line(link: socket.socket) -> str:
    """What comes up to the next end of line, which is the last that comes for now."""
    data = b""
    while not data.endswith(b"\n"):
        more = link.recv(MAX_LINE)
        if not more or len(data) > MAX_LINE:
            raise OSError("no end of line")
        data += more
    return data[:-1].decode("ascii", "replace")


def _lasting(link: socket.socket) -> socket.socket:
    """The connection, made to last, and to be closed by the system if the other machine is lost."""
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            with suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return link
