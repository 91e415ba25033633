"""The tests mirror the tree."""

from hypothesis import settings

# A busy machine is no failure: tests are bounded by pytest's timeout instead.
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")
