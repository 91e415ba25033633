"""``headrace demo``: the whole pipeline on this machine, for a minute, to look at.

play.py     what is sent: shop events with a few faults among them, each with its due time
watch.py    what comes out: everything counted from the topics, nothing assumed
screen.py   what is shown
run.py      broker, engine, job, play, result; starts them, stops them
"""
