"""The cases of a sweep measured: which lack rounds, where they are measured, and when again.

`run` measures what a folder lacks, in the passes of `rounds`, at a `place`: `here`, on this
machine, or `there`, on the workers of a cluster; `listing` only says what would be measured. Uses
`cluster`, `measuring`, `analysis`, `records` and `cases`, and prints what happens meanwhile; the
commands alone use it.
"""
