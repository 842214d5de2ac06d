"""Triton kernels for the three products, and how their work is cut up and tuned."""
