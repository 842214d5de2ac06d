"""What tests of the harness share."""

import pytest
import torch

from sparsebench.measuring import isolation, roofline
from tests.sparsebench import quick


@pytest.fixture(autouse=True, scope="session")
def _forkserver():
    """Commands end the process that others are forked from; it takes seconds to begin: it stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolation.forkserver._forkserver, "_stop", lambda: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _probed():
    """The limits of this machine are not what is tested, but in test_roofline.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "probe", quick.probe)
        yield


@pytest.fixture
def in_process(monkeypatch):
    """Let cases be measured in this process: faster, and what a test has patched holds."""

    def call(function, *args, timeout_s, log=None):
        try:
            return function(*args)
        except Exception as error:
            raise isolation.Failure("error", isolation.describe(error)) from error

    threads = torch.get_num_threads()
    monkeypatch.setattr(isolation, "call", call)
    yield
    torch.set_num_threads(threads)
