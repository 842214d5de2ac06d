"""How one case is measured: isolated, verified against the oracle, timed, its peaks taken.

Uses `implementations`, `cases` and `records`; every time and every peak of a sweep is taken here:
times in `timing` (on a GPU by the clock in `gpu`), peaks in `memory`, errors by the `oracle`. A
`worker` does all that for one case in a process of its own (`isolation`), the `runner` for many in
turns, while this machine is held alone (`hostlock`); `retakes` takes again what was disturbed.
"""
