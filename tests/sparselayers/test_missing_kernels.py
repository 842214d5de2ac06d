"""What happens where the kernels were not built."""

from tests import fresh

SCRIPT = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["sparselayers._native"] = None  # as where there is no compiler
import torch
torch.manual_seed(0)
with warnings.catch_warnings(record=True) as at_import:
    warnings.simplefilter("always")
    import sparselayers
assert not [w for w in at_import if "kernels" in str(w.message)], at_import
layer = sparselayers.SparseLinear(10, 5, sparsity=0.5)
with warnings.catch_warnings(record=True) as at_use:
    warnings.simplefilter("always")
    for _ in range(3):
        layer(torch.ones(2, 10)).sum().backward()
        layer.double()(torch.ones(2, 10, dtype=torch.float64))
        layer.float()
found = [w for w in at_use if "fast kernels are missing" in str(w.message)]
assert len(found) == 1, at_use
assert "pip install ." in str(found[0].message)
right = layer.weight.to_dense().sum(1) + layer.bias
assert torch.allclose(layer(torch.ones(2, 10)), right, atol=1e-6), (layer.weight, right)
try:
    sparselayers.SparseLinear(10, 5, backend="native")(torch.ones(2, 10))
except ValueError as error:
    assert "not available" in str(error)
else:
    raise AssertionError("used a backend that is not there")
"""


def test_one_warning_at_first_use_and_right_results():
    fresh.one(SCRIPT)
