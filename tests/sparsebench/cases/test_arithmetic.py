"""Counts of operations and bytes, against one table worked by hand."""

import pytest

from sparsebench.cases import arithmetic
from tests.sparsebench.factory import case

# 4 inputs, 6 outputs, half of the 24 weights: 12 values of 4 bytes and 6 of the bias, 72 bytes;
# 12 + 7 indices, 76 bytes; 2 samples: x 32 bytes, y 48 bytes.
SMALL = {"in_features": 4, "out_features": 6, "sparsity": 0.5, "batch": 2}


@pytest.mark.parametrize(
    ("phase", "flops", "traffic", "footprint", "needed"),
    [
        ("inference", 48, 72 + 76 + 32 + 48, 72 + 76 + 80, 72 + 76 + 48),
        # backward: parameters read, their gradients written, indices, x, dy, dx
        ("forward_backward", 144, 228 + 144 + 76 + 64 + 48, 76 + 2 * 152, 76 + 144 + 48 + 32),
        ("train_step", 144, 560 + 3 * 72, 76 + 2 * 152, 76 + 144 + 48 + 32),
    ],
)
def test_against_a_layer_counted_by_hand(phase, flops, traffic, footprint, needed):
    of = case(phase=phase, **SMALL)
    assert arithmetic.flops(of) == flops
    assert arithmetic.traffic(of) == traffic
    assert arithmetic.footprint(of) == footprint
    assert arithmetic.needed_memory(of) == needed
    assert arithmetic.intensity(of) == flops / traffic


def test_half_the_bytes_per_value_in_bfloat16_but_not_per_index():
    assert arithmetic.traffic(case(phase="inference", dtype="bfloat16", **SMALL)) == 76 + 76


def test_against_a_convolution_counted_by_hand():
    """2 → 4 channels, 3×3, 5² to 3²: 36 of 72 weights, each used 9 times on a sample."""
    of = case(
        operation="conv2d", in_features=2, out_features=4, kernel=3, stride=2, padding=1, image=5,
        sparsity=0.5, batch=2, phase="inference",
    )  # fmt: skip
    x, y, parameters, indices = 2 * 2 * 25 * 4, 2 * 4 * 9 * 4, (36 + 4) * 4, (36 + 5) * 4
    assert arithmetic.flops(of) == 2 * 36 * 9 * 2
    assert arithmetic.traffic(of) == parameters + indices + x + y
    assert arithmetic.footprint(of) == parameters + indices + x + y
    assert arithmetic.needed_memory(of) == parameters + indices + y


def test_what_multiplies_nothing_has_no_operations():
    """Activations and making a layer, of a dense layer too."""
    winners = case(operation="k_winners", in_features=8, out_features=8, phase="inference")
    for of in (winners, case(phase="construction", **SMALL)):
        assert arithmetic.flops(of) == arithmetic.dense_flops(of) == 0
    assert arithmetic.dense_flops(case(phase="inference", **SMALL)) == 2 * 24 * 2
