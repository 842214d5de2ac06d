"""The cases of a sweep measured: which lack rounds, where they are measured, and when again.

`run` measures what a folder lacks, in rounds, at one of the `places`: this machine, or the workers
of a cluster; `listing` only says what would be measured. Uses `cluster`, `measuring`, `analysis`,
`records` and `cases`, and prints what happens meanwhile; the commands alone use it.
"""
