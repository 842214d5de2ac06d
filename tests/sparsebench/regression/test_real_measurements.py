"""The verdict about real times, taken in processes of their own while another one is busy.

Native products take so much of the processor's time in the base, and 30% more in the head: by that
clock itself, so that what is true does not depend on what else the machine does, and longer than
the work in them. Kept short: one workload, and processes forked from one that has PyTorch.
`benchmarks/trial.py` slows down what products really take, with builds and fresh interpreters;
docs/guides/performance-check.md has its counts.
"""

import pytest

from sparsebench.measuring import isolation
from sparsebench.measuring.busy_core import busy_core
from sparsebench.regression import judging
from sparselayers.backends import BACKENDS
from tests.sparsebench.regression.slow_products import measured

NAME = "training-784-2000-90%-b64"
PRODUCT_S = 4e-3  # the work of a product is done in a tenth of it

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="needs the kernels"
)


@pytest.fixture
def busy():
    """Keep a core busy."""
    with busy_core():
        yield


def verdict(factor):
    """The verdict on a head whose products take `factor` times as long as the base's."""

    def probe(side, names):
        seconds = PRODUCT_S * (factor if side == "head" else 1.0)
        return isolation.call(measured, names, seconds, timeout_s=300)

    (found,) = judging.judged(probe, [NAME], processes=3)
    return found.verdict


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_thirty_percent_is_caught_and_the_same_is_not():
    assert (verdict(1.0), verdict(1.3)) == ("same", "slower")
