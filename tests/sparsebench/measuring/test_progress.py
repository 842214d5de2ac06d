"""What a run calls its cases."""

import pytest

from sparsebench.measuring.progress import title
from tests.sparsebench.factory import case


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "ours 1024→1024 90% batch 128 train_step cpu float32"),
        (
            {"topology": "blocks-8x1"},
            "ours 1024→1024 90% blocks-8x1 batch 128 train_step cpu float32",
        ),
        (
            {"gradients": "kept", "cache": "cold"},
            "ours 1024→1024 90% gradients kept cache cold batch 128 train_step cpu float32",
        ),
        (
            {"operation": "product", "phase": "inference"},
            "ours 1024→1024 90% product batch 128 inference cpu float32",
        ),
    ],
)
def test_cases_that_differ_have_titles_that_do(changes, expected):
    assert title(case(**changes)) == expected
