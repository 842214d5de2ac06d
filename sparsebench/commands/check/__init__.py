"""`sparsebench check`: its options (`command`), and a file for each thing that it can check.

`against_base` has both `sides` measured in turn, `trip_wires` needs no base, `instructions` counts
what the kernels of both sides execute. All of that is done in the room `regression`.
"""
