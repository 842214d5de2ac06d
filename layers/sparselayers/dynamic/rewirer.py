"""Rewirer: when a model is rewired, by which rule, and that all ranks do the same."""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers import structures
from sparselayers.change import change_connections, check_changeable, unwrapped
from sparselayers.connectivity import Connectivity
from sparselayers.dynamic import shrink
from sparselayers.dynamic.activity import Step
from sparselayers.dynamic.agreement import Agreement
from sparselayers.dynamic.planning import planned
from sparselayers.dynamic.site import Site
from sparselayers.dynamic.watching import Watch
from sparselayers.layer import SparseLayer
from sparselayers.ranks import Ranks
from sparselayers.structures import Structure

if TYPE_CHECKING:
    from sparselayers.prune import Schedule

Decay = Literal["cosine", "constant"]


class Rewirer(ABC):
    """Rewire, at every `update_every`-th step before step `stop_after`, a share of each layer.

    The sparse layers of `model` whose values `optimizer` has are rewired; call `step` after each
    `optimizer.step()`. At step t the share α/2 · (1 + cos(π t / stop_after)) of the weights, with
    α = `fraction`, is dropped: those of smallest magnitude. With `decay="constant"` it is α
    throughout. As many connections grow where `grow` says. They start at 0, and so does their
    entry in the optimizer's state; all others keep theirs (values shared by all weights, such as
    the step count of Adam, go on).

    What was just dropped does not grow back in the same step, so that the share is what really
    changes. The RigL paper lets it compete, and its authors' implementation leaves the weight of
    one that wins as it was: `regrow_dropped=True` does that.

    With a `schedule` (`sparselayers.Gradual`) layers become sparser beside: before connections are
    dropped to make room for others, those that are worth least go until the target of the step is
    met, by `distribution` in each layer ("uniform") or with one threshold for all ("global").

    With a `structure` (`sparselayers.structures`, or its name such as "8x1" or "fan-in") all layers
    have to have it, and keep it: whole blocks are dropped and grow, by the sums of what decides
    over their weights; with N:M or a constant fan-in each group or output grows as many as it lost,
    as in SRigL (Lasby et al. 2023, arXiv 2305.02299, section 3.1, without its ablation of neurons).
    Rules that cannot keep one refuse it.

    Layers whose weights are frozen, or got no gradient in the step, stay as they are. Steps that
    the optimizer does not take (GradScaler, on overflow) do not count. Ranks under
    DistributedDataParallel rewire alike: gradients are summed over them, random numbers are the
    first rank's, and the outcome is compared before it is applied; `process_group` names the
    ranks where the model is parallel in another way. Models under `torch.compile` run eagerly
    for the step that rewires: from the step before it until it is done or the rewirer is gone.

    What a rule learns of the dense gradient is made of what went through the layers on the way to
    their `.grad`. Whatever else is in `.grad` (penalties on the weights, other uses of them,
    numbers written by hand) it cannot know of, and `step` raises RuntimeError where the two differ
    (see `agreement.py` for what is allowed); `check_gradient=False` lets them.

    A rule is one method, `grow`. One that drops by something else than magnitude overrides
    `worth`, or `importance` where what is dropped to make room goes by another order than what is
    pruned; one that looks at several layers at once, `percolate`. `window` is how many steps'
    gradients it sees.

    Raises ValueError where a setting is out of range, there is no layer to rewire, layers share
    their weights or lack the structure, or all are frozen and the rule needs gradients; `step`
    raises RuntimeError where ranks or gradients differ or a rule says what fits no layer, and
    ValueError for an optimizer whose state cannot follow, and a schedule that asks for no sparsity.
    Nothing has changed then.
    """

    needs_gradient: ClassVar[bool] = True  # a rule that does not spares what it takes
    reads_gradient: ClassVar[bool] = True  # one that does not read site.step.gradient spares a copy
    weighs_gradient: ClassVar[bool] = False  # whether `worth` is made of gradients
    keeps_structure: ClassVar[bool] = False  # whether `grow` asks site.largest or site.anywhere
    window: int = (
        1  # how many steps' gradients a rule sees: those before it, and the one it acts on
    )

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        update_every: int = 100,
        stop_after: int,
        fraction: float = 0.3,
        decay: Decay = "cosine",
        regrow_dropped: bool = False,
        max_size: float = 1e8,
        generator: torch.Generator | None = None,
        process_group: Any = None,
        check_gradient: bool = True,
        schedule: Schedule | None = None,
        distribution: shrink.Distribution = "uniform",
        structure: Structure | str | None = None,
    ) -> None:
        self.update_every = _at_least_one("update_every", update_every)
        self.stop_after = _at_least_one("stop_after", stop_after)
        self.max_size = _at_least_one("max_size", max_size)
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction must be in [0, 1], got {fraction}")
        if decay not in get_args(Decay):
            raise ValueError(f"decay must be one of {', '.join(get_args(Decay))}, got {decay!r}")
        if distribution not in get_args(shrink.Distribution):
            allowed = ", ".join(get_args(shrink.Distribution))
            raise ValueError(f"distribution must be one of {allowed}, got {distribution!r}")
        if schedule is not None and not callable(getattr(schedule, "sparsity", None)):
            raise ValueError(
                "schedule must say a sparsity for a step, as sparselayers.Gradual does, "
                f"got {schedule!r}"
            )
        self.schedule, self.distribution = schedule, distribution
        self.structure = structures.named(structure)
        self.fraction, self.decay, self.regrow_dropped = fraction, decay, regrow_dropped
        self.process_group, self.check_gradient = process_group, check_gradient
        self.generator = generator or torch.Generator().manual_seed(_any_number())
        optimizer = unwrapped(optimizer)
        self.optimizer = optimizer  # None: there is one only while it makes a step (automatic.py)
        layers = _rewirable(model, optimizer)
        self._check_structure(layers)
        self._watch = Watch(
            layers,
            window=self.window,
            keeps_pairs=self.needs_gradient,
            keeps_gradient=self.needs_gradient or self.reads_gradient,
        )
        if optimizer is not None:
            check_changeable(layers, layers, optimizer)
            self._check_trained(layers)
            self._follow(optimizer)
        self.resume(0)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        # A rule made of one that spares the copy may read it.
        cls.reads_gradient = vars(cls).get("reads_gradient", True)

    def __repr__(self) -> str:
        shown = {"layers": len(self.layers), "steps": self.steps}
        shown |= {name: getattr(self, name) for name in ("update_every", "stop_after", "fraction")}
        shown |= {"decay": self.decay}
        shown |= {} if self.schedule is None else {"schedule": self.schedule}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    @abstractmethod
    def grow(self, site: Site, count: int) -> Tensor | Connectivity:
        """Return the keys of `count` connections to grow, none of them in `site.taken`.

        Or these connections themselves.
        """

    def worth(self, site: Site) -> Tensor:
        """Return what each connection of the layer is worth, (nnz,): the least goes first."""
        return site.layer.weights.detach().abs()

    def importance(self, site: Site, worth: Tensor) -> Tensor:
        """Return the order in which connections are dropped to make room, (nnz,), least first."""
        del site
        return worth

    def percolate(self, sites: dict[str, Site], kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is kept of all layers, booleans (nnz,) of each, of what was not dropped."""
        del sites
        return kept

    @property
    def layers(self) -> dict[str, SparseLayer]:
        """The layers that are rewired, by their names in the model."""
        return self._watch.layers

    def share(self, step: int) -> float:
        """Return the share of the connections that is replaced at `step`; 0 where none is."""
        if step % self.update_every or not 0 < step < self.stop_after:
            return 0.0
        if self.decay == "constant":
            return self.fraction
        return self.fraction / 2 * (1 + math.cos(math.pi * step / self.stop_after))

    def step(self) -> None:
        """Count a step of the optimizer, and rewire if it is time; nothing if it took none."""
        if not self._watch.took_a_step():
            return
        self.steps += 1
        share, sparsity = self.share(self.steps), self._sparsity(self.steps)
        if share or sparsity is not None:
            self._rewire(share, sparsity)
        self._watch.remember()
        self._look()

    def state_dict(self) -> dict[str, Any]:
        """Return what has to be kept to go on later: the steps made, and the generator."""
        earlier = self._watch.state()
        state = {"steps": self.steps, "generator": self.generator.get_state()}
        return state | ({"earlier": earlier} if earlier else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.generator.set_state(state_dict["generator"].cpu())
        self.resume(int(state_dict["steps"]))
        self._watch.restore(state_dict.get("earlier", {}))

    def resume(self, steps: int) -> None:
        """Go on as after `steps` steps."""
        self.steps = steps
        self._look()

    def prepare(self) -> None:
        """Take note of the gradients that an optimizer's step is about to be made with."""
        self._watch.prepare()

    def observe(self, optimizer: Optimizer) -> bool:
        """Take note that `optimizer` was asked for a step; False where that is known already."""
        if not self._watch.observe(optimizer):
            return False
        self.optimizer = optimizer
        return True

    def _check_structure(self, layers: dict[str, SparseLayer]) -> None:
        """Raise ValueError where the rule, or a layer, does not keep the structure."""
        if self.structure == structures.Unstructured():
            return
        if not self.keeps_structure:
            raise ValueError(
                f"{type(self).__name__} cannot keep the structure {self.structure}: it chooses "
                "connections one by one; RigL, SET, MEST, MomentumGrowth and GraNet can"
            )
        for name, layer in layers.items():
            if self.schedule is not None and self.structure.group(layer.shape) is not None:
                raise ValueError(
                    f"with a schedule connections are not kept {self.structure}: use blocks, or "
                    "prune with sparselayers.Pruner"
                )
            self._units(name, layer)

    def _units(self, name: str, layer: SparseLayer) -> Tensor:
        """Return the keys of a layer's units, or raise ValueError where it has no whole ones."""
        try:
            return self.structure.units(layer.connectivity)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error

    def _check_trained(self, layers: dict[str, SparseLayer]) -> None:
        """Raise ValueError where a rule that needs gradients would never get one."""
        trained = any(layer.weights.requires_grad for layer in layers.values())
        if (self.needs_gradient or self.weighs_gradient) and not trained:
            raise ValueError(
                f"{type(self).__name__} needs gradients, and the weights of all sparse layers are "
                f"frozen ({', '.join(map(repr, layers))}): let one of them require gradients"
            )

    def _follow(self, optimizer: Optimizer) -> None:
        """Have both called, without making the optimizer hold a rewirer that nobody else holds."""
        reference = weakref.ref(self)

        def before_step(*_: Any) -> None:
            rewirer = reference()
            if rewirer is not None:
                rewirer.prepare()

        def after_step(optimizer: Optimizer, *_: Any) -> None:
            rewirer = reference()
            if rewirer is not None:
                rewirer.observe(optimizer)

        for handle in (
            optimizer.register_step_pre_hook(before_step),
            optimizer.register_step_post_hook(after_step),
        ):
            weakref.finalize(self, handle.remove).atexit = False

    def _sparsity(self, step: int) -> float | None:
        sparsity = None if self.schedule is None else self.schedule.sparsity(step)
        if sparsity is not None and not 0.0 <= sparsity < 1.0:
            raise ValueError(
                f"the schedule asks for sparsity {sparsity} at step {step}: it must be in [0, 1)"
            )
        return sparsity

    def _changes(self, step: int) -> bool:
        """Whether connections change at `step`."""
        return self.share(step) > 0 or self._sparsity(step) is not None

    def _look(self) -> None:
        """Have recorded what goes through the layers, if one of the next steps is to be seen."""
        ahead = range(self.steps + 1, self.steps + 1 + self.window)
        self._watch.look(wanted=any(map(self._changes, ahead)))

    @torch.no_grad()
    def _rewire(self, share: float, sparsity: float | None) -> None:
        """Rewire all layers, or none: what is to be refused is refused before the first changes."""
        ranks = Ranks(self.process_group or self._watch.group)
        layers, steps = self.layers, self._watch.steps
        used = [step is not None and step.used for step in steps.values()]
        device = next(iter(layers.values())).weights.device
        chosen = [name for name, each in zip(steps, ranks.any(used, device), strict=True) if each]
        assert self.optimizer is not None
        check_changeable(layers, chosen, self.optimizer)
        sites = {name: self._site(name, steps.pop(name), ranks) for name in chosen}
        plans = planned(self, sites, share, sparsity, self.distribution)
        if self.window == 1:
            self._watch.clear(chosen)
        for name in list(plans):
            change_connections(layers[name], plans.pop(name), self.optimizer)

    def _site(self, name: str, step: Step | None, ranks: Ranks) -> Site:
        """Return what is known about a layer before anything is dropped."""
        layer, step = self.layers[name], step or Step([], None, used=False)
        connectivity = layer.connectivity
        connectivity.forget()  # they go: what was derived would only lie beside what is made now
        seed = ranks.of_first(_any_number(self.generator), connectivity.device)
        arrays = layer.weights.detach(), connectivity.row_ptr, connectivity.col
        ranks.check(f"layer {name!r}: weights and connections", *arrays)
        site = Site(
            layer=layer,
            step=step,
            agreement=Agreement(layer, step, ranks),
            ranks=ranks,
            generator=torch.Generator().manual_seed(seed),
            max_size=self.max_size,
            earlier=self._watch.earlier(name),
            structure=self.structure,
        )
        if self.structure != structures.Unstructured():
            site.__dict__["present"] = self._units(name, layer)
        return site


def _rewirable(model: nn.Module, optimizer: Optimizer | None) -> dict[str, SparseLayer]:
    """Return the sparse layers whose values the optimizer has, by name; without one, all."""
    layers = {n: layer for n, layer in model.named_modules() if isinstance(layer, SparseLayer)}
    if optimizer is None:
        return layers
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    layers = {name: layer for name, layer in layers.items() if id(layer.weights) in trained}
    if not layers:
        raise ValueError("there is no sparse layer in the model whose values the optimizer has")
    for name, layer in layers.items():
        if getattr(layer, "dynamic", False):
            raise ValueError(f"layer {name!r} was made with dynamic=True: it rewires itself")
    return layers


def _any_number(generator: torch.Generator | None = None) -> int:
    return int(torch.randint(2**62, (), generator=generator, device="cpu"))


def _at_least_one(name: str, number: float) -> int:
    if not 1 <= number < math.inf or int(number) != number:
        raise ValueError(f"{name} must be a positive integer, got {number}")
    return int(number)
