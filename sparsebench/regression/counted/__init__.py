"""Products of the native kernels, called by a bare Python: what `check --instructions` counts.

`python -m sparsebench.regression.counted KERNELS NAMES…` runs in callgrind. It needs the standard
library alone, and little of it, as PyTorch takes minutes to be imported there. Kernels take
addresses and check nothing (csrc/module.cpp): they are called here as the files of
sparselayers/backends/native call them, by a file for each of those, and change together with these.
So the kernels of a revision are called by its own copy of this package.
"""
