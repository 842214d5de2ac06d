"""Whether a change made the layers slower: base against head, and trip wires.

`yardstick` is what one fresh process measures, `builds` makes a revision measurable, `turns`
measures two of them in turn and judges, `wires` are ratios that hold on any machine, and `results`
is what is kept of all that.
"""
