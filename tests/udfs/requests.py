"""Packed requests, written field by field after the drawing in ``udfs/request.py``."""

from __future__ import annotations

import struct

import numpy as np

from pipeline.replay.fold import profile_hash
from schemas.profile import PROFILE_DTYPE
from udfs.request import EVENT, Action


def packed_request(
    profile: bytes,
    action: int = Action.LIST,
    cause: int = EVENT,
    partition: int = 0,
    offset: int = 0,
    event_time: int = 0,
) -> bytes:
    """A request, made of a whole packed profile."""
    [fields] = np.frombuffer(profile, PROFILE_DTYPE)
    return b"".join(
        (
            struct.pack("<BBHiqq", action, cause, 0, partition, offset, event_time),
            profile_hash(profile),
            profile[:160],
            fields["history"][: fields["history_len"]].tobytes(),
            fields["excluded"][: fields["excluded_len"]].tobytes(),
        )
    )


def profile_with(**fields: object) -> bytes:
    """An empty packed profile but for these fields."""
    profile = np.zeros(1, PROFILE_DTYPE)
    for name, value in fields.items():
        profile[name] = value
    return profile.tobytes()
