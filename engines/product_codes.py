"""Product quantisation (Jegou, Douze and Schmid 2011): a unit vector in M bytes.

    vector [D] ─ M parts of D / M numbers ─▶ for each the nearest of K centroids ─▶ codes int8 [M]
    codes ─ rows m * K + code + 128 of the codebooks [M * K, D / M] ─ side by side ─ to length 1
                                                                                ─▶ about the vector

A centroid is a mean, and so shorter than what it stands for, by as much as these differ: unless
made one long again, items would score the lower, the worse they are stored.

A table that is stored so lies beside its codebooks: ``item_vectors`` int8 [C, M] and
``item_vectors_codebooks`` float32 [M * K, D / M]. The first centroid of each part is zero, so zero
vectors, which stand for unknown items, stay zero. Codes are int8 because TensorRT gathers no uint8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 256
"""Centroids of a part, the zero among them."""
LOWEST = -128
"""The code of the first."""
LEAST_LENGTH = np.float32(1e-9)
"""By which a zero vector is divided."""
AT_ONCE = 1 << 14
"""Vectors whose distances are held at once: 16 MiB."""


def codebooks_of(table: str) -> str:
    """The table with the codebooks of another."""
    return f"{table}_codebooks"


def first_rows(parts: int, rows: int) -> NDArray[np.int32]:
    """What is added to codes [..., M] to make them rows of the codebooks, int32 [M].

    >>> first_rows(parts=2, rows=512).tolist()
    [128, 384]
    """
    return np.arange(parts, dtype=np.int32) * np.int32(rows // parts) - np.int32(LOWEST)


def encoded(vectors: NDArray[np.float32], codebooks: NDArray[np.float32]) -> NDArray[np.int8]:
    """The codes int8 [n, M] of the centroids that are nearest to the parts of vectors [n, D].

    Args:
        codebooks: float32 [M * K, D / M]; of equally near centroids the first is taken.
    """
    size = codebooks.shape[1]
    parts = vectors.shape[1] // size
    books = codebooks.reshape(parts, -1, size)
    half = (books**2).sum(2) / 2  # |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - <x, c>)
    codes = np.empty((len(vectors), parts), np.int8)
    for start in range(0, len(vectors), AT_ONCE):
        some = vectors[start : start + AT_ONCE].reshape(-1, parts, size)
        for part, (book, own) in enumerate(zip(books, half, strict=True)):
            nearest = (own - some[:, part] @ book.T).argmin(1)
            codes[start : start + AT_ONCE, part] = nearest + LOWEST
    return codes


def decoded(codes: NDArray[np.int8], codebooks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The unit vectors float32 [..., D] that codes int8 [..., M] stand for; zero ones stay zero."""
    parts = codebooks[codes + first_rows(codes.shape[-1], len(codebooks))]
    vectors: NDArray[np.float32] = parts.reshape(*codes.shape[:-1], -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors /= np.maximum(length, LEAST_LENGTH)
    return vectors
