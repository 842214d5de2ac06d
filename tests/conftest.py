"""Settings for all tests."""

import gc
import os

import pytest
import torch
from hypothesis import settings

from sparsebench.measuring import hostlock

# Which way computes a product, and so the bits of results, do not depend on the machine.
os.environ.setdefault("SPARSEBENCH_CALIBRATION", "off")

# How long one example takes says more about what else the machine is doing than about the code.
settings.register_profile("sparsebench", deadline=None)
settings.load_profile("sparsebench")


def pytest_configure(config):
    # Said by torch.compile on Python 3.13.0, of its own guards: nothing that a test could change.
    config.addinivalue_line("filterwarnings", "ignore:Guards may run slower on Python 3.13.0")


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: begun last, they would leave the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="module")
def _imported():
    """Take what was imported out of later collections of garbage, as a measuring process does.

    Each of them would look at a million objects, and every measurement of memory collects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    """What a test draws does not depend on which tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _locks(tmp_path_factory):
    """Tests wait neither for each other nor for what else is measured on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(hostlock.VARIABLE, str(tmp_path_factory.mktemp("locks")))
        yield
