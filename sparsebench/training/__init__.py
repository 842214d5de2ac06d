"""Whole networks trained: the settings that an experiment's file asks for, their runs and records.

Uses `views`, `measuring`, `analysis`, `records` and `cases`; the commands alone use it, and its
chapters join the report when they are imported.

What is asked: `experiment` reads a file of `experiments/training`, `rows` makes `settings` of
it; what no file can say is in `coded`. What is trained: `mlp`, `cifar.networks` and
`text.network`, over `datasets`, rewired as `rewiring` says (rules are the library's, in
`sparselayers.dynamic`; that of masks is in `masked`). How: `loop` trains one setting and takes
its times, at the `pace` of steps or of seconds, `run` many; `state` is what changes
meanwhile, `checkpoint` writes it, `step_times` times steps by themselves. What is shown of
`records` (`curves` of the coded ones): `views`, and `chapters` of the page.
"""
