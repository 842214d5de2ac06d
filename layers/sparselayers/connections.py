"""What a layer is connected by now: the one owner of its topology.

The indices of a layer are no buffers. DistributedDataParallel would broadcast them in every
forward pass, averages would average them, `.type()` would cast them, and whoever writes into a
buffer without PyTorch counting it (`.data`, a collective) would leave everything derived from
them stale. A layer holds one immutable Connectivity instead. What others see of it, as `row_ptr`
and `col` of the layer and of its state dict, are copies: its serialised form. Writes to them take
effect at the layer's next use, counted by PyTorch or not, because they are compared with the
Connectivity for as long as anybody holds them. Compiled programs ask when they run (handles.py).

Since nobody else has its arrays, a Connectivity may keep its columns in what the kernels compute
with, bits or narrower numbers, and in nothing beside it (`Connectivity.keep_in`): a layer that
trains or infers on a CPU holds each column once. They are written out for state dicts, rewiring,
copies, and for whoever asks, and freed when nobody holds them any more. Where operators get the
arrays in every call (compilers, tracers, transforms, convolutions) they stay (`lay_out`).

One small buffer remains, `topology_id`, the digest of the connections. It goes where buffers go,
and so tells when somebody took the weights of other connections for this layer's: an average
made by place after a rewiring. Processes of DistributedDataParallel that drew other connections
than the first one notice by it, and take those of the first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sparselayers.connectivity import Connectivity, version
from sparselayers.handles import STALE, handle_of
from sparselayers.ranks import running
from sparselayers.shown import Shown
from sparselayers.topology_change import Hook, TopologyChange


class Watcher(Protocol):
    """Whoever wants to see what goes through a layer, for a while (see dynamic/activity.py)."""

    def enter(self, x: Tensor) -> Tensor:
        """Return the input to use for `x`."""

    def leave(self, x: Tensor, weights: Tensor, y: Tensor) -> None:
        """See the input that was used, and the output."""


class Connections:
    """The connections of one layer, what of them others hold, and who wants to hear of changes."""

    def __init__(self, connectivity: Connectivity) -> None:
        self.current = connectivity
        self.handle = handle_of(self)  # what stands for this among tensors
        # The `col` that a compiled program had when it found that others had been written.
        self.replaced: Tensor | None = None
        self.hooks: OrderedDict[int, Hook] = OrderedDict()
        self.watcher: Watcher | None = None
        self.unmarked = False  # whether the buffer still names others: those before a write
        self.compiled_for: set[int] = set()  # numbers of connections
        self.waiting: dict[str, Tensor] = {}
        self.why = ""
        self._lays_out = False
        self._shown = Shown()
        self._looks = False  # whether something is shown, or waits
        self._marked: tuple[Any, int] = (None, -1)
        self._agreed: tuple[Any, int] = (None, -1)

    def get(self) -> Connectivity:
        """Return the connections, with what was written to the arrays that others hold.

        Raises ValueError where that is no topology, and RuntimeError where the rest of a state
        dict is missing.
        """
        if self._looks:
            self._look()
        return self.current

    def undisturbed(self, mark: Tensor) -> Connectivity | None:
        """Return the connections where neither they nor the buffer `mark` have to be looked at.

        None where others hold them, something was written, or the buffer is not as it was: ask
        `get` and `check` then.
        """
        seen, at = self._marked
        if seen is not mark or self._looks or self.unmarked:
            return None
        if (0 if mark.is_inference() else mark._version) != at:  # `version`, without its call
            return None
        return self.current

    @property
    def shown(self) -> tuple[Tensor, Tensor]:
        """Copies of `row_ptr` and `col`, the same ones for as long as anybody holds them."""
        self._looks = True
        return self._shown.of(self.current)

    def show(self, *, row_ptr: Tensor | None = None, col: Tensor | None = None) -> None:
        """Let other arrays be those that are written to: the layer takes on what is in them."""
        before = self.shown
        self._shown.be(
            before[0] if row_ptr is None else row_ptr,
            before[1] if col is None else col,
        )

    def wait(self, arrays: dict[str, Tensor], why: str) -> None:
        """Keep arrays of a state dict until the rest of it is there."""
        self.waiting = {name: array.detach().clone() for name, array in arrays.items()}
        self.why, self._looks = why, True

    def replace(self, change: TopologyChange) -> None:
        """Take over other connections.

        Arrays that others hold show them too where there are as many; otherwise they stay what
        they are beside the old weights.
        """
        self._become(change.new)
        self.waiting = {}
        self._shown.follow(change.old, change.new)

    def move(self, device: torch.device) -> None:
        """Have the connections on `device`, as they are."""
        self._take()
        if self.current.device != device:
            self.current, self.replaced = self._ready(self.current.to(device)), None
            self.handle = handle_of(self)
            self._shown.forget()

    def lay_out(self) -> bool:
        """Have the columns of these connections, and of others that come, as arrays; return True.

        Whoever traces or compiles hands them to operators in every call, and compiled programs
        read them where the layer has them. All others do without (see `Connectivity.keep_in`).
        """
        self._lays_out = True
        return self.current.lay_out()

    # For a compiler a constant, found when it compiles.
    lay_out._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def require(self, connectivity: Connectivity) -> None:
        """Raise RuntimeError, as autograd does, where these are the connections no more."""
        now = self.get()
        if now is not connectivity and not now.equals(connectivity):
            raise RuntimeError(STALE)

    def check(self, mark: Tensor) -> None:
        """Raise RuntimeError where the buffer `mark` names other connections than these."""
        seen = version(mark)
        if self._marked[0] is mark and self._marked[1] == seen:
            return
        if (group := running().group) is not None:
            # DistributedDataParallel broadcasts buffers again and again: once is enough to see.
            if self._agreed != (group, self.current.digest):
                self._agree(group)
                self.mark(mark)
            self._marked = mark, version(mark)
            return
        if not mark.is_meta and not _names(mark, self.current.digest):
            raise RuntimeError(
                "the weights of this sparse layer belong to other connections than it has: "
                "somebody wrote over its buffer `topology_id`. torch.optim.swa_utils.AveragedModel "
                "averages by place and cannot follow a rewiring: use sparselayers.AveragedModel."
            )
        self._marked = mark, seen

    def mark(self, mark: Tensor) -> None:
        """Let the buffer `mark` name these connections."""
        if not mark.is_meta:
            with torch.no_grad():
                mark.fill_(self.current.digest)
        self.unmarked = False
        self._marked = mark, version(mark)

    def _agree(self, group: Any) -> None:
        """Have the connections of the first rank on every rank, as DDP does it with parameters."""
        now, device = self.current, self.current.device
        own = torch.tensor([now.digest], device=device)
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, own, group=group)
        if len({int(each) for each in gathered}) > 1:
            arrays = now.row_ptr.clone(), now.col.clone()
            for array in arrays:
                dist.broadcast(array, group=group, group_src=0)
            self._become(Connectivity.adopt(now.shape, *arrays))
            self._shown.forget()
        self._agreed = group, self.current.digest

    def register(self, hook: Hook) -> RemovableHandle:
        """Have `hook` called after every change of the connections, until the handle's `remove`."""
        handle = RemovableHandle(self.hooks)
        self.hooks[handle.id] = hook
        return handle

    def __fx_create_arg__(self, tracer: Any) -> Any:
        """Have torch.fx find the connections where the layer has them, to follow their changes."""
        for path, module in tracer.root.named_modules():
            if vars(module).get("_connections") is self:
                name = f"{path}._connections".removeprefix(".")
                return tracer.create_node("get_attr", name, (), {})
        raise ValueError("the layer is no part of the model that is traced")

    def __deepcopy__(self, memo: object) -> Connections:
        return Connections(self.get())  # hooks are for the layer they were asked for

    def __reduce__(self) -> tuple[Any, ...]:
        return Connections, (self.get(),)

    def _look(self) -> None:
        """Take on what was written; refuse where the rest of a state dict is missing."""
        self._take()
        if self.waiting:
            raise RuntimeError(self.why)
        self._looks = self._shown.held

    def _take(self) -> None:
        """Take on what was written to the arrays that are shown."""
        written = self._shown.written(self.current)
        if written is not None:
            self._become(written)
            self.unmarked = True

    def _become(self, connectivity: Connectivity) -> None:
        """Have other connections: no gradient is taken for those of a forward pass before."""
        self.current, self.replaced = self._ready(connectivity), None
        torch.autograd.graph.increment_version(self.handle)

    def _ready(self, connectivity: Connectivity) -> Connectivity:
        if self._lays_out:
            connectivity.lay_out()
        return connectivity


def new_mark(device: torch.device) -> Tensor:
    """Return a buffer for the name of some connections.

    It is a number with a fraction, so that the average of equal names is that name.
    """
    dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has nothing better
    return torch.zeros((), dtype=dtype, device=device)


def _names(mark: Tensor, digest: int) -> bool:
    """Whether `mark` is `digest`, but for what averaging and casts round off."""
    precision = torch.finfo(mark.dtype).eps if mark.is_floating_point() else 0.0
    return abs(float(mark) - digest) <= digest * max(2.0**-34, 4 * precision)
