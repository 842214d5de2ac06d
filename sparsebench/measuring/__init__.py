"""How one case is measured: isolated, verified against the oracle, timed, its peaks taken.

Uses `implementations`, `cases` and `records`; every time and every peak of a sweep is taken here.
"""
