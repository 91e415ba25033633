"""Whether a server may listen on a port."""

from __future__ import annotations

import socket


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
