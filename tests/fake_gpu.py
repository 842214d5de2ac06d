"""A stand-in for a GPU, for what measures on one or decides about one."""

import torch

from sparsebench.measuring import gpu as measured
from sparsebench.measuring.gpu import Meters
from sparselayers import accelerator
from sparselayers.accelerator import Accelerator


class FakeGpu(Accelerator, Meters):
    """Calls take as long as `times` says, in turn; what is asked of it is in `log`."""

    def __init__(self, *, times=(1e-3,), free=1 << 30, capability=(9, 0)):
        self.times, self.log = list(times), []
        self.is_capturing, self.memory, self.most = False, 0, 0
        self._free, self._capability = free, capability

    def name(self):
        return "Fake 1"

    def description(self):
        return {"name": "Fake 1", "memory_gib": 1, "capability": "9.0"}

    def capability(self):
        return self._capability

    def capturing(self):
        return self.is_capturing

    def synchronize(self):
        self.log.append("synchronize")

    def captured(self, call, leaves):
        """Results are written where the first was, as those of a graph are."""
        self.log.append("capture")
        kept = [leaf.detach().clone() for leaf in leaves]
        result = call()
        with torch.no_grad():
            for leaf, numbers in zip(leaves, kept, strict=True):
                leaf.copy_(numbers)
        return lambda: result.copy_(call())

    def seconds(self, call, count, *, cold):
        self.log.append("cold" if cold else "hot")
        taken = []
        for _ in range(count):
            call()
            taken.append(self.times.pop(0) if len(self.times) > 1 else self.times[0])
        return taken

    def settle(self, dtype):
        self.log.append("settle")

    def release(self):
        self.log.append("release")

    def allocate(self, size):
        """What a tensor of `size` bytes that is made, or freed, does."""
        self.memory += size
        self.most = max(self.most, self.memory)

    def free(self):
        return self._free

    def allocated(self):
        return self.memory

    def reset_peak(self):
        self.most = self.memory

    def peak(self):
        return self.most


def installed(monkeypatch, gpu=None, *, count=1):
    """Make `gpu` what every device but the CPU is, on a machine with `count` of them."""
    gpu = gpu or FakeGpu()
    for module in (accelerator, measured):
        monkeypatch.setattr(module, "of", lambda device: gpu)
    monkeypatch.setattr(accelerator, "usable", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    return gpu
