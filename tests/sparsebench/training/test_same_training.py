import pytest
import torch

from sparsebench.training import same_training, toy
from sparsebench.training.datasets import Dataset


@pytest.fixture
def many(digits):
    """Enough batches for the steps compared below."""
    return Dataset(
        "mnist-subset",
        digits.train_images.repeat(8, 1), digits.train_labels.repeat(8),
        digits.test_images, digits.test_labels,
    )  # fmt: skip


def test_sparse_training_is_masked_training_step_by_step(many):
    fixed, rewired = same_training.run(steps=30, width=60, dataset=many)
    assert fixed.case == "fixed topology"
    assert rewired.conditions["rewirings"] == 3
    for result in (fixed, rewired):
        assert result.difference < 1e-10  # the goal is 1e-4
        assert result.losses["sparse"][-1] < result.losses["sparse"][0]
    assert fixed.losses["sparse"] != rewired.losses["sparse"]


def test_two_layers_fit_random_outputs_dense_and_sparse():
    (result,) = toy.run()
    for losses in result.losses.values():
        assert len(losses) == 500
        assert losses[-1] < 5e-4, "prints as 0.000"
    assert torch.tensor(result.losses["dense"][:400:100]).diff().lt(0).all()
