"""What the mathematics of a case costs at least, whoever computes it.

A sparse layer has nnz values V and, for each, the index of its column; nnz and the sizes of the
layer, with the number of windows in which a convolution uses each weight, fix how many operations
and bytes any implementation has to spend. An implementation that does more (a dense one multiplies
the zeros too) is measured against the same count.
"""

from __future__ import annotations

from sparsebench.cases.case import Case

PRODUCTS = {"inference": 1, "forward_backward": 3, "train_step": 3, "rewiring": 3}
VALUE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
INDEX_BYTES = 4


def flops(case: Case) -> int:
    """Return the operations of a phase: a multiplication and an addition per use of a weight.

    Every sample uses each weight once, in a convolution once a window. Inference is one product
    (y = x Wᵀ); the other phases are three (and dx = dy W, dW = dyᵀ x).
    Activations, and making a layer, multiply nothing. Bias and optimizer are left out: they are of
    lower order. So is what a rewiring needs at least.
    """
    return _operations(case, case.nnz)


def dense_flops(case: Case) -> int:
    """Return the operations of a phase of the dense layer, zeros included."""
    return _operations(case, case.weights)


def traffic(case: Case) -> int:
    """Return the bytes a phase must read and write at least.

    The forward pass reads the connections, the bias and x, and writes y. The backward pass reads
    the connections, x and dy, and writes dx and the gradients: one fused pass could. The optimizer
    (SGD) reads values and gradients and writes values. Within a pass every array moves once.
    """
    value = VALUE_BYTES[case.dtype]
    x, y = case.batch * case.inputs * value, case.batch * case.outputs * value
    parameters = _parameters(case)
    if case.phase == "construction":
        return parameters + _indices(case)
    moved = parameters + _indices(case) + x + y
    if case.phase != "inference":
        moved += 2 * parameters + _indices(case) + 2 * x + y
    if case.phase in ("train_step", "rewiring"):
        moved += 3 * parameters
    return moved


def footprint(case: Case) -> int:
    """Return the bytes of all arrays of a phase, each once: its smallest working set.

    Values, bias, one column index per value and one pointer per row, x and y; to train, also the
    gradients of the parameters, of x and of y. Plain SGD has no state.
    """
    value = VALUE_BYTES[case.dtype]
    activations = case.batch * (case.inputs + case.outputs) * value
    if case.phase == "construction":
        return _parameters(case) + _indices(case)
    arrays = _parameters(case) + activations
    return _indices(case) + (arrays if case.phase == "inference" else 2 * arrays)


def needed_memory(case: Case) -> int:
    """Return the bytes that a call of the layer must have in use, at least.

    The footprint but for what the layer is given and a peak does not count: x and, to train, dy.
    """
    if case.phase == "construction":
        return footprint(case)
    given = case.inputs + (0 if case.phase == "inference" else case.outputs)
    return footprint(case) - case.batch * given * VALUE_BYTES[case.dtype]


def intensity(case: Case) -> float:
    """Return the operations per byte of a phase, FLOP/B."""
    return flops(case) / traffic(case)


def _parameters(case: Case) -> int:
    if case.operation == "k_winners":
        return 0
    bias = 0 if case.operation == "product" else case.out_features
    return (case.nnz + bias) * VALUE_BYTES[case.dtype]


def _indices(case: Case) -> int:
    if case.operation == "k_winners":
        return 0
    return (case.nnz + case.out_features + 1) * INDEX_BYTES


def _operations(case: Case, used: int) -> int:
    """Return the operations of a phase in which every sample uses so many weights."""
    if case.operation == "k_winners" or case.phase == "construction":
        return 0
    return 2 * used * case.batch * case.windows * PRODUCTS[case.phase]
