"""Settings for all tests.

The process that hands tests out to others reads this too and runs none, while they wait for it:
what takes seconds to import is imported by what needs it.
"""

import gc
import os

import pytest

from sparsebench.measuring import hostlock

# Threads that spin while they wait keep the cores from those they wait for, as the Makefile says:
# read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Which way computes a product, and so the bits of results, do not depend on the machine.
os.environ.setdefault("SPARSEBENCH_CALIBRATION", "off")


def pytest_configure(config):
    if not getattr(config.option, "numprocesses", None):
        from hypothesis import settings

        # How long an example takes says more about what else the machine does than about the code.
        settings.register_profile("sparsebench", deadline=None)
        settings.load_profile("sparsebench")
    # Said by torch.compile on Python 3.13.0, of its own guards: nothing that a test could change.
    config.addinivalue_line("filterwarnings", "ignore:Guards may run slower on Python 3.13.0")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays: it is looked for no garbage, which takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: begun last, they would leave the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="module")
def _imported():
    """Take what was imported out of later collections of garbage, as a measuring process does.

    Each of them would look at a million objects, and every measurement of memory collects. What
    is freed goes back to the system: a module that took gigabytes leaves none to those after it.
    """
    from sparsebench.measuring import allocator

    gc.collect()
    gc.freeze()
    allocator.trim()


@pytest.fixture(scope="session")
def _seeding():
    """What seeds all generators there are.

    Without a GPU `torch.manual_seed` writes down, for when there is one, which lines of which files
    it was called from: for longer than most tests take.
    """
    import torch

    gpu = torch.accelerator.is_available()
    return torch.manual_seed if gpu else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def _seed(_seeding):
    """What a test draws does not depend on which tests ran before it."""
    _seeding(0)


@pytest.fixture(autouse=True, scope="session")
def _locks(tmp_path_factory):
    """Tests wait neither for each other nor for what else is measured on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(hostlock.VARIABLE, str(tmp_path_factory.mktemp("locks")))
        yield
