"""Metrics of the lists on stdin by RecTools, as JSON: runs in an environment of its own.

RecTools needs other versions of NumPy and pandas than Flink does.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import MRR, NDCG, CatalogCoverage, HitRate

    given = json.load(sys.stdin)
    lists = pd.DataFrame(
        [
            {Columns.User: user, Columns.Item: item, Columns.Rank: place}
            for user, items in enumerate(given["lists"])
            for place, item in enumerate(items, start=1)
            if item
        ]
    )
    users = range(len(given["targets"]))
    wanted = pd.DataFrame({Columns.User: users, Columns.Item: given["targets"]})
    found = {"mrr": MRR(k=given["k"]).calc(lists, wanted)}
    for k in given["cutoffs"]:
        found[f"hit_rate@{k}"] = HitRate(k=k).calc(lists, wanted)
        # One item is to be found, so the best gain is that of one item.
        found[f"ndcg@{k}"] = NDCG(k=k, divide_by_achievable=True).calc(lists, wanted)
    catalogue = range(1, given["items"] + 1)
    found["coverage"] = CatalogCoverage(k=10, normalize=True).calc(lists, catalogue)
    json.dump({name: float(value) for name, value in found.items()}, sys.stdout)


if __name__ == "__main__":
    main()
