"""What is known of an item, as words."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

WORD = re.compile(r"\w+")


def words_of(item: Mapping[str, object]) -> list[str]:
    """The words of an item: of its title, its category and provider, and how much it costs.

    >>> words_of({"title": "Oak Lamp", "category": "light|oak", "price": 30.0, "provider": None})
    ['oak', 'lamp', 'category=light', 'category=oak', 'price=5']
    """
    words = WORD.findall(str(item.get("title") or "").lower())
    for name in ("category", "provider"):
        words += [f"{name}={one}" for one in str(item.get(name) or "").split("|") if one]
    price = item.get("price")
    if isinstance(price, float) and price > 0:
        words.append(f"price={round(np.log2(price))}")
    return words
