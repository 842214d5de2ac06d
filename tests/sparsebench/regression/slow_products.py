"""Products that last as long as a test wants, in a process that imports no more than they need."""

import time

from sparsebench.regression import yardstick
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import few, few_bitmaps, one_block


def measured(names, seconds):
    """What the yardstick finds, with native products that take `seconds` on the processor."""
    shorts = few.Few, few_bitmaps.FewBitmaps, one_block.OneBlock
    for backend in (type(BACKENDS["native"]), *shorts):
        for name in ("forward", "backward"):
            setattr(backend, name, _lasting(getattr(backend, name), seconds))
    return yardstick.run(names, 0.03, rivals=False)


def _lasting(product, seconds):
    def lasting(*args, **kwargs):
        end = time.thread_time() + seconds
        answer = product(*args, **kwargs)
        while time.thread_time() < end:
            pass
        return answer

    return lasting
