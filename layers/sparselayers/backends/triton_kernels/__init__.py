"""Triton kernels for the three products, and how their work is cut up and tuned.

For GPUs alone: the kernels for CPUs are C++, in `csrc/`.
"""
