from __future__ import annotations

import pytest

from pipeline.evaluate import _validate_from

LOG = [("user", "item", 3, time_ms) for time_ms in range(0, 1000, 10)]


@pytest.mark.parametrize(
    ("from_ms", "until_ms", "judged_from"),
    [(600, 800, 400), (300, 599, 1), (300, 600, None), (100, 800, None), (None, 800, None)],
)
def test_a_fit_is_judged_by_a_time_as_long_as_the_test(
    from_ms: int | None, until_ms: int | None, judged_from: int | None
) -> None:
    assert _validate_from(LOG, from_ms, until_ms) == judged_from
