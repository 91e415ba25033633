"""Benchmarks of the whole path on this machine: Kafka, job, engine, Kafka.

    load.py        the events: a synthetic shop of 20,000 users and 2,000 items
    throughput.py  how many lists a second of events that lie ready
    freshness.py   how long after an event is due its list can be read
    engine.py      how long engines take by themselves, those of the store or made-up ones
    soak.py        whether lag or memory grow over a long time
    measure.py     instruments: memory of processes, delays of lists, the machine
    figures.py     percentiles, histograms, medians

Broker, load and job share the machine; each runs in a process of its own.
"""
