"""On which ports a server may listen."""

from __future__ import annotations

import random
import socket
from itertools import islice

FOR_SERVERS = range(20_000, 32_768)
"""Below those that Linux gives to clients: one that tries again and again to reach a server that is
down is given the server's port in the end, and then is in its way."""


def why_taken(host: str, port: int) -> str:
    """Why nobody can listen there, in the system's words; empty if one can."""
    with socket.socket() as probe:
        # As servers do: a port that only lingers after a close is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now, for servers that may go and come back."""
    ports = random.sample(FOR_SERVERS, len(FOR_SERVERS))
    return list(islice((port for port in ports if not why_taken("127.0.0.1", port)), count))
