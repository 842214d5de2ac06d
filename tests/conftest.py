"""Settings for all tests."""

import pytest
import torch
from hypothesis import settings

# How long one example takes says more about what else the machine is doing than about the code.
settings.register_profile("sparsebench", deadline=None)
settings.load_profile("sparsebench")


@pytest.fixture(autouse=True)
def _seed():
    """What a test draws does not depend on which tests ran before it."""
    torch.manual_seed(0)
