"""Cannistraci-Hebb training: connections grow where the topology says that one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.dynamic import paths
from sparselayers.dynamic.importance import relative_importance, sampled_order
from sparselayers.dynamic.percolation import without_dead_ends
from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site
from sparselayers.topologies.keys import from_keys

Score = Literal["ch3_l3p", "ch2_l3n"]
Removal = Literal["magnitude", "relative"]

_SCORES = {"ch3_l3p": paths.ch3_l3p, "ch2_l3n": paths.ch2_l3n}


class CHT(Rewirer):
    """Grow the links that close most paths of length three, in the topology of what was kept.

    No gradient is needed, and nothing of size out × in is made. `score` is CH3-L3p, the sum of
    1/√(de*_t de*_z) over all paths u – t – z – v, or CH2-L3n, the sum of di*_z / de*_z over the
    nodes on them (`paths.py` says what they are). Where fewer links have a score than are to grow,
    the rest grows anywhere. `removal` is what is dropped: the smallest magnitudes, or the smallest
    relative importance |w_ij| / Σ_i' |w_i'j| + |w_ij| / Σ_j' |w_ij'|. With a `schedule`, `pruning`
    says the same of what goes for good; by default it is as `removal`.

    `chain` names layers of which each takes the outputs of the one before (with no more than
    element by element functions and norms between them): links of neurons that have lost all links
    on their other side are dropped too, and as many grow in the same layer. What was dropped may
    grow back, with the weight that it had; the authors stop rewiring a layer in which most does,
    and here `stop_after` says when. By magnitude they drop as large a share of the positive as of
    the negative weights, as SET did; here signs do not count. They replace a constant share
    (`decay="constant"`, `fraction=0.3`) after every epoch.

    Raises ValueError as `Rewirer` does, and for an unknown `score`, `removal` or `pruning`, and a
    `chain` of layers that are not rewired or do not fit one another.

    Source: Zhang et al. 2024, Epitopological learning and Cannistraci-Hebb network shape
    intelligence (CHT, openreview iayEcORsGd), and the authors' repository
    biomedical-cybernetics/Cannistraci-Hebb-training.
    """

    needs_gradient = False
    reads_gradient = False

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        score: Score = "ch3_l3p",
        removal: Removal = "magnitude",
        pruning: Removal | None = None,
        chain: Sequence[str] = (),
        regrow_dropped: bool = True,
        **settings: Any,
    ) -> None:
        pruning = removal if pruning is None else pruning
        for name, value, kind in (
            ("score", score, Score), ("removal", removal, Removal), ("pruning", pruning, Removal),
        ):  # fmt: skip
            if value not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
        self.score, self.removal, self.pruning = score, removal, pruning
        self.chain = tuple(chain)
        super().__init__(model, optimizer, regrow_dropped=regrow_dropped, **settings)
        self._check_chain()

    def worth(self, site: Site) -> Tensor:
        """Return what each connection is pruned by, (nnz,): magnitude or relative importance."""
        return self._measured(site, self.pruning)

    def importance(self, site: Site, worth: Tensor) -> Tensor:
        """Return what each connection is dropped by to make room, (nnz,)."""
        return worth if self.removal == self.pruning else self._measured(site, self.removal)

    def percolate(self, sites: dict[str, Site], kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is kept, without the links that lead nowhere."""
        return without_dead_ends(self.chain, sites, kept)

    def grow(self, site: Site, count: int) -> Tensor:
        """Return the keys of the `count` links with the highest scores."""
        if not site.kept.numel():
            return site.anywhere(count)
        graph = paths.Graph(from_keys(site.kept.clone(), site.layer.shape))
        blocks = _SCORES[self.score](graph)
        return site.best(((keys, self.rank(site, scores)) for keys, scores in blocks), count)

    def rank(self, site: Site, scores: Tensor) -> Tensor:
        """Return the order in which links with `scores` (n,) grow, the largest first."""
        del site
        return scores

    def _measured(self, site: Site, by: Removal) -> Tensor:
        if by == "magnitude":
            return super().worth(site)
        return relative_importance(site.layer.weights, site.layer.connectivity)

    def _check_chain(self) -> None:
        layers = self.layers
        for name in self.chain:
            if name not in layers:
                known = ", ".join(map(repr, layers))
                raise ValueError(f"chain names {name!r}, which is not rewired: there are {known}")
        for first, second in pairwise(self.chain):
            outputs, inputs = layers[first].shape[0], layers[second].shape[1]
            if outputs != inputs:
                raise ValueError(
                    f"chain has {first!r} with {outputs} outputs before {second!r} with {inputs} "
                    "inputs: each layer must take the outputs of the one before"
                )


class CHTs(CHT):
    """CHT with a soft rule: what is kept and what grows is drawn, the better the likelier.

    What is kept is drawn without replacement with chances ∝ worth^T, where T = δ / (1 − δ) rises
    with the steps from the first to the second of `sharpness`: by default from 1 to 3, which is δ
    from 0.5 to 0.75, as the authors' code has it of images and translation; their command for
    language models says 1 to 9. What grows is drawn with chances ∝ score. So rewiring does not
    settle on the same links too early. The score is by default CH2-L3n, which costs less where more
    than a few percent of the connections are left.

    With `schedule=sparselayers.prune.Sigmoid(...)` and `pruning="relative"` this is CHTss.

    Raises ValueError as `CHT` does, and where `sharpness` is not two positive numbers.

    Source: Zhang et al. 2025, Brain network science modelling of sparse neural networks (CHTs,
    arXiv 2501.19107), and the authors' repositories of it, Cannistraci-Hebb-training and
    Cannistraci-Hebb-Training-Soft-Rule- of biomedical-cybernetics: that T rises linearly is theirs.
    """

    reads_gradient = False

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        score: Score = "ch2_l3n",
        sharpness: tuple[float, float] = (1.0, 3.0),
        **settings: Any,
    ) -> None:
        if len(sharpness) != 2 or not all(0.0 < each < float("inf") for each in sharpness):
            raise ValueError(f"sharpness must be two positive numbers, got {sharpness}")
        self.sharpness = sharpness
        super().__init__(model, optimizer, score=score, **settings)

    def importance(self, site: Site, worth: Tensor) -> Tensor:
        """Return a random order, (nnz,), in which what is worth little tends to come first."""
        worth, (first, last) = super().importance(site, worth), self.sharpness
        power = first + (last - first) * min(1.0, self.steps / self.stop_after)
        return sampled_order(worth.double() ** power, site.uniform(worth.numel(), worth.device))

    def rank(self, site: Site, scores: Tensor) -> Tensor:
        """Return a random order in which links with high scores tend to come first."""
        return sampled_order(scores, site.uniform(scores.numel(), scores.device))
