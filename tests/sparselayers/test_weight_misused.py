"""`layer.weight` taken for a parameter: nothing is lost in silence, and the docs explain it."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import sparselayers as sl

PAGE = Path(__file__).parents[2] / "docs" / "start" / "troubleshooting.md"


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return sl.SparseLinear(6, 4, sparsity=0.5)


def explained(message):
    """Whether a row of the page has the message, "…" standing for anything."""
    rows = re.findall(r"^\| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = [span for row in rows for span in re.findall(r"`(.+?)`", row) if len(span) > 20]
    return any(re.search(".*".join(map(re.escape, t.split("…"))), message, re.S) for t in told)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda layer: torch.optim.SGD([layer.weight], lr=0.1),
        lambda layer: setattr(layer, "weight", torch.zeros(4, 6)),
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.zeros(4, 6))),
        lambda layer: setattr(layer, "weight", nn.Embedding(4, 6).weight),
        lambda layer: layer.weight.requires_grad_(False),
        lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
        lambda layer: parametrizations.spectral_norm(layer),
        lambda layer: layer.weight.mean(),
        lambda layer: (layer.weight != 0).sum(),
        lambda layer: layer.weight.detach().numpy(),
        lambda layer: layer.weight.mul_(2),
        lambda layer: layer.weight.zero_(),
        lambda layer: layer.weight.clamp_(-1, 1),
        lambda layer: layer.weight.__setitem__(0, 0.0),
        lambda layer: layer.weight.data.__setitem__(..., 0.0),
        lambda layer: layer.weight.data.normal_(),
        lambda layer: layer.weight.copy_(torch.zeros(4, 6)),
        lambda layer: nn.init.kaiming_uniform_(layer.weight),
        lambda layer: nn.init.normal_(layer.weight),
        lambda layer: nn.init.zeros_(layer.weight),
    ],
)
def test_what_is_no_parameter_says_so_in_words_that_are_explained(misuse, layer):
    before = layer.weights.detach().clone()
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each has another
        misuse(layer)
    assert explained(str(raised.value))
    with torch.no_grad(), pytest.raises(TypeError, match="is a view for reading"):
        layer.weight.mul_(2)
    assert torch.equal(layer.weights, before)


def test_its_gradient_is_that_of_weights(layer):
    layer(torch.randn(2, 6)).sum().backward()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert layer.weight.grad is None
    assert explained(str(given[0].message))
    assert layer.weights.grad is not None


def test_what_the_page_says_to_do_instead_works(layer):
    matrix = torch.randn(4, 6) * (torch.rand(4, 6) < 0.5)
    layer.load_state_dict({"weight": matrix, "bias": torch.zeros(4)})
    torch.testing.assert_close(layer.weight.detach().to_dense(), matrix)
    torch.testing.assert_close(layer.to_dense().weight.detach(), matrix)
    with torch.no_grad():
        layer.weights.mul_(2)
    torch.testing.assert_close(layer.weight.detach().to_dense(), 2 * matrix)
    layer.weight.pow(2).sum().backward()
    torch.testing.assert_close(layer.weights.grad, 2 * layer.weights.detach())
    prune.l1_unstructured(layer, "weights", amount=0.5)
    parametrizations.weight_norm(sl.SparseLinear(6, 4, sparsity=0.5), "weights", dim=None)
