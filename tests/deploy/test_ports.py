"""Ports for servers are free, and no client is given them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.local import ports

CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_free_ports_can_be_bound_all_at_once() -> None:
    found = ports.free_ports(20)
    probes = [socket.socket() for _ in found]
    try:
        for probe, port in zip(probes, found, strict=True):
            probe.bind(("127.0.0.1", port))
    finally:
        for probe in probes:
            probe.close()


def test_a_taken_port_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_ports(2)
    monkeypatch.setattr(ports, "FOR_SERVERS", (taken, free))
    with socket.socket() as server:
        server.bind(("127.0.0.1", taken))
        server.listen()
        assert ports.free_ports(1) == [free]
    assert sorted(ports.free_ports(2)) == sorted([taken, free])  # negative control


@pytest.mark.skipif(not CLIENTS.exists(), reason="needs Linux")
def test_clients_are_given_other_ports() -> None:
    first, _ = map(int, CLIENTS.read_text().split())
    if first != 32_768:
        pytest.skip("this machine gives its clients other ports than Linux does by itself")
    assert max(ports.FOR_SERVERS) < first
