"""Whether a change made the layers slower: base against head, and trip wires.

`yardstick` is what one fresh process measures, `builds` makes a revision measurable, `turns`
measures two of them in turn, `judging` gives the verdict, `wires` are ratios that hold on any
machine, `results` is what is kept of all that, `history`, `views` and `plot` show it.
`instructions` compares what the kernels execute, which `counted` calls without PyTorch;
`count_views` show that. `launches` is a GPU that does nothing, to measure what its host does. Uses
`analysis`, `views` and `records`; the yardstick uses nothing but the library, of whatever revision.
"""
