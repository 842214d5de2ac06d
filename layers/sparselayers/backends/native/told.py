"""What kernels are told of a layer's connections: once, and then by one object of theirs.

That says as much as the columns, in fewer bytes, so columns are kept in it alone, and written out
for whoever asks (`Connectivity.keep_in`), with numpy: whoever asks may trace or transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUMPY = {torch.int32: np.int32, torch.int64: np.int64}  # of columns


@dataclass(frozen=True, slots=True)
class Told:
    """What the kernels hold on to, and the arrays that it points to.

    Whoever computes with it holds it: the connections forget what was derived, and arrays go then.
    """

    kernel: Any
    arrays: tuple[Tensor, ...]


def tensor_of(columns: Any) -> Tensor:
    """Return a numpy array as an ordinary tensor, whatever mode or transform PyTorch is in."""
    with (
        torch.inference_mode(False),
        torch._C._DisableTorchDispatch(),
        torch._C._DisableFuncTorch(),
    ):
        return torch.from_numpy(columns)
