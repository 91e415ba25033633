"""Compression after training: each step makes a new version of a bundle, with it as its parent.

    bundle ─▶ step ─▶ draft ─▶ store ─▶ `headrace gate` against the parent

    steps.py        the steps by name, and what all of them check
    half.py         float16
    weights.py      int8 weights of the network, int8 vectors of items
    product.py      codes in the place of item vectors
    calibrated.py   int8 activations too, with scales out of a log
    graph.py        what these look for in a graph
    distill.py      a small network taught by an engine
    heads.py        a ranker taught by the heads of another
    prune.py        fewer blocks, heads and units
    sparsify.py     weights of 0
    fitted_on.py    an engine taken up again, for these three

A list must not depend on its neighbours, so every scale is a constant of the model.
"""
