"""Scores of absent links by the paths of length three that would close: Cannistraci-Hebb theory.

A layer is a bipartite graph of outputs u, z and inputs t, v. A path u – t – z – v leads over a
neighbour t of u and a neighbour z of v. Of z as seen from u, the links to neighbours of u are
internal to the local community, di = |N(z) ∩ N(u)|; the others, but for the one to v, are external:
de = |N(z)| − di − 1. The same holds for t as seen from v. A star adds 1, so that nothing is
divided by 0.

All of it is computed from the paths that there are, in blocks of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sparselayers import backends
from sparselayers.connectivity import Connectivity

Block = tuple[Tensor, Tensor]  # keys and scores (n,), no key twice

# Paths that are followed, and entries of a dense block that exist, at a time. More are no faster:
# 2¹⁸ paths take 1568², 99.5%, 44 MB and as long, these 9.
_PATHS = 2**15
_DENSE = 2**17
# Entries of what all blocks of outputs share, which exist at a time: as many times the connections,
# and at least and at most so many. With all of them 1568², 99%, takes 20 MB in place of 9, and 0.6
# of the time.
_HELD_EACH, _HELD_LEAST, _HELD = 8, 3 * 2**18, 2**26
_WORTH = 256  # how many multiplications of a product cost as much as one step of a path


class Side(NamedTuple):
    """The links of the graph as seen from one side: a pointer (n + 1,) and neighbours (nnz,).

    Neighbours are of whatever integer type they are stored in, which may be half as large as int64.
    """

    pointer: Tensor
    neighbours: Tensor

    @property
    def degrees(self) -> Tensor:
        """The number of links of each node, (n,)."""
        return self.pointer.diff()

    def follow(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each link of `nodes` (n,) the place of its node there, and where it leads."""
        degrees = self.degrees[nodes]
        origin = torch.arange(nodes.numel(), device=nodes.device).repeat_interleave(degrees)
        first = (self.pointer[nodes] - (degrees.cumsum(0) - degrees)).repeat_interleave(degrees)
        places = first + torch.arange(origin.numel(), device=nodes.device)
        return origin, self.neighbours[places].long()


class Graph:
    """A layer's connections as a bipartite graph."""

    def __init__(self, connectivity: Connectivity) -> None:
        self.connectivity, self.shape = connectivity, connectivity.shape
        t = connectivity.transposed
        self.outputs = Side(connectivity.row_ptr.long(), connectivity.col)
        self.inputs = Side(t.col_ptr.long(), t.row)

    def every_input(self) -> Tensor:
        """Return all inputs, (in,)."""
        return torch.arange(self.shape[1], device=self.connectivity.device)

    def paths(self) -> Tensor:
        """Return how many paths of length three begin at each output, (out,)."""
        row, col = self.connectivity.row.long(), self.connectivity.col.long()
        degrees = self.outputs.degrees
        two = degrees.new_zeros(self.shape[1]).index_add_(0, col, degrees[row])
        return torch.zeros_like(degrees).index_add_(0, row, two[col])


def ch2_l3n(graph: Graph) -> Iterator[Block]:
    """Yield CH2-L3n of links (u, v), in blocks: Σ_z di*_z / de*_z over all nodes z on the paths.

    O(paths) where the layer is sparse, in memory for the pairs of inputs that share an output;
    where paths are so many that products with the whole layer cost less, these, in blocks. Links
    that exist have scores too, which mean nothing.

    Source: Zhang et al. 2025, CHTs (arXiv 2501.19107), CH2-L3n by products of matrices; the
    authors' code gives the same to links that are absent.
    """
    paths, inputs = graph.paths(), graph.shape[1]
    # So often is it computed with the whole layer.
    times = -(-inputs // max(1, _held(graph) // inputs))
    dense = _WORTH * int(paths.sum()) > 2 * times * graph.shape[0] * graph.connectivity.nnz
    yield from _by_products(graph) if dense else _by_paths(graph, paths)


def ch3_l3p(graph: Graph) -> Iterator[Block]:
    """Yield CH3-L3p of links (u, v), in blocks: Σ 1 / √(de*_t · de*_z) over all their paths.

    O(paths · log paths): meant for layers of which 1% of the connections, or fewer, are left.

    Source: Zhang et al. 2024, Epitopological learning (CHT, openreview iayEcORsGd), CH3-L3, whose
    code follows every path; Muscoloni et al. 2020 (doi 10.20944/preprints202012.0808).
    """
    columns = graph.shape[1]
    back = shared(graph.inputs, graph.outputs, graph.every_input())
    seen_from = back.first * columns + back.second  # of t from v, ascending
    outside = _outside(back, graph.inputs.degrees)
    for rows in _blocks(graph.paths(), _PATHS):
        forth = shared(graph.outputs, graph.inputs, rows)
        beyond = _outside(forth, graph.outputs.degrees)
        known = forth.first * graph.shape[0] + forth.second
        origin, t = graph.outputs.follow(rows)
        middle, z = graph.inputs.follow(t)
        u = rows[origin[middle]]
        place = torch.searchsorted(known, origin[middle] * graph.shape[0] + z)
        open_z = (z != u) & (beyond[place] > 0)
        u, t, z, of_z = u[open_z], t[middle][open_z], z[open_z], beyond[place][open_z]
        last, v = graph.outputs.follow(z)
        place = torch.searchsorted(seen_from, v * columns + t[last])
        of_t = outside[place]
        scores = torch.where(of_t > 0, (of_t * of_z[last]).rsqrt(), 0.0)
        yield _summed(u[last] * columns + v, scores)


class Shared(NamedTuple):
    """Pairs of nodes of one side that have neighbours in common, and how many: (n,) each.

    `first` are places in the nodes that were asked for, ascending; each pair once, nodes with
    themselves included.
    """

    first: Tensor
    second: Tensor
    common: Tensor


def shared(here: Side, there: Side, nodes: Tensor) -> Shared:
    """Return the pairs of `nodes` (n,) of one side with all nodes of that side."""
    size = here.pointer.numel() - 1
    found = []
    origin, middle = here.follow(nodes)
    two = torch.zeros_like(nodes).index_add_(0, origin, there.degrees[middle])  # paths of each
    for some in _blocks(two, _PATHS):
        origin, middle = here.follow(nodes[some])
        step, other = there.follow(middle)
        keys, count = torch.unique(some[origin[step]] * size + other, return_counts=True)
        found.append((keys, count))
    keys = torch.cat([keys for keys, _ in found]) if found else nodes[:0]
    count = torch.cat([count for _, count in found]) if found else nodes[:0]
    return Shared(keys // size, keys % size, count)


def _outside(pairs: Shared, degrees: Tensor) -> Tensor:
    """de* of the second node of each pair as seen from the first: |N| − di, float64."""
    return (degrees[pairs.second] - pairs.common).double()


def _ratio(pairs: Shared, degrees: Tensor) -> Tensor:
    """di* / de* of the second node of each pair as seen from the first.

    Where de* is 0, all of a node's links are to neighbours of the first: it leads nowhere else.
    """
    outside = _outside(pairs, degrees)
    return torch.where(outside > 0, (pairs.common + 1) / outside, 0.0)


def _by_paths(graph: Graph, paths: Tensor) -> Iterator[Block]:
    columns = graph.shape[1]
    back = shared(graph.inputs, graph.outputs, graph.every_input())
    ratios = _ratio(back, graph.inputs.degrees)
    # `back` is symmetric: from v to t there is a pair where there is one from t to v.
    firsts = torch.searchsorted(back.first, torch.arange(columns + 1, device=back.first.device))
    order = torch.argsort(back.second * columns + back.first)
    to = Side(firsts, back.first[order])
    weights = ratios[order]
    for rows in _blocks(paths, _PATHS):
        forth = shared(graph.outputs, graph.inputs, rows)
        ratio = _ratio(forth, graph.outputs.degrees)
        over_z, v = graph.outputs.follow(forth.second)
        keys = [rows[forth.first[over_z]] * columns + v]
        scores = [ratio[over_z]]
        origin, t = graph.outputs.follow(rows)
        over_t, ends = to.follow(t)
        places = to.pointer[t][over_t] + _counted(over_t)
        keys.append(rows[origin[over_t]] * columns + ends)
        scores.append(weights[places])
        yield _summed(torch.cat(keys), torch.cat(scores))


def _by_products(graph: Graph) -> Iterator[Block]:
    """The same with the products of a backend, over dense blocks of inputs and of outputs."""
    (out_features, in_features), layer = graph.shape, graph.connectivity
    ones = torch.ones(layer.nnz, device=layer.device)
    for columns in _parts(graph.every_input(), in_features, _held(graph)):
        back = ones.new_empty(columns.numel(), in_features)  # di* / de* of t as seen from v, (v, t)
        for some in _parts(columns, max(graph.shape), _DENSE):
            back[some - columns[0]] = _ratios_of_inputs(graph, some, ones)
        every_output = torch.arange(out_features, device=layer.device)
        for rows in _parts(every_output, max(graph.shape), _DENSE):
            scores = _scores(graph, rows, columns, back, ones).flatten()
            closed = (scores > 0).nonzero().squeeze(1)
            scores = scores[closed].double()
            others = in_features - columns.numel()  # places of a row that are not among them
            before = int(rows[0]) * in_features + int(columns[0])
            yield closed.add_(closed // columns.numel() * others + before), scores


def _ratios_of_inputs(graph: Graph, inputs: Tensor, ones: Tensor) -> Tensor:
    """Return di* / de* of all inputs as seen from some of them, (n, in)."""
    layer = graph.connectivity
    backend = backends.select(layer.device, torch.float32, None)
    links = _dense(graph.inputs, inputs, graph.shape[0], ones)
    common = backend.grad_input(backend.arrange(links, layer), ones, layer)
    return _dense_ratio(common, graph.inputs.degrees)


def _scores(graph: Graph, rows: Tensor, columns: Tensor, back: Tensor, ones: Tensor) -> Tensor:
    """Return CH2-L3n of links from outputs `rows` (n,) to `columns` (m,) in a row, (n, m)."""
    layer = graph.connectivity
    backend = backends.select(layer.device, torch.float32, None)
    links = _dense(graph.outputs, rows, graph.shape[1], ones)
    common = backend.forward(backend.arrange(links, layer), ones, None, layer)
    ratio = _dense_ratio(common, graph.outputs.degrees)
    onward = backend.grad_input(backend.arrange(ratio, layer), ones, layer)
    return onward[:, columns[0] : columns[-1] + 1].addmm_(links, back.t())


def _held(graph: Graph) -> int:
    return min(_HELD, max(_HELD_LEAST, _HELD_EACH * graph.connectivity.nnz))


def _parts(numbers: Tensor, width: int, most: int) -> Iterator[Tensor]:
    """Yield `numbers` (n,) in order, as many at a time as make `most` entries of `width` each."""
    return iter(torch.split(numbers, max(1, most // width)))


def _dense(side: Side, nodes: Tensor, size: int, like: Tensor) -> Tensor:
    """Return the links of `nodes` as a matrix (n, size) of ones and zeros."""
    links = like.new_zeros(nodes.numel(), size)
    links[side.follow(nodes)] = 1.0
    return links


def _dense_ratio(common: Tensor, degrees: Tensor) -> Tensor:
    """di* / de* of all nodes (columns) as seen from others (rows), in place, as `_ratio` has it."""
    common = common.round_()
    outside = degrees - common
    none = (common <= 0).logical_or_(outside <= 0)
    return common.add_(1.0).div_(outside).masked_fill_(none, 0.0)


def _counted(groups: Tensor) -> Tensor:
    """Return the number of each entry within its group, for ascending `groups` (n,)."""
    places = torch.arange(groups.numel(), device=groups.device)
    if not groups.numel():
        return places
    starts = torch.searchsorted(groups, groups)
    return places - starts


def _blocks(work: Tensor, most: int) -> Iterator[Tensor]:
    """Yield all places of `work` (n,) in order, with at most `most` of it in a block, or one."""
    sums = work.cumsum(0)
    start, done = 0, 0
    while start < work.numel():
        bound = sums.new_tensor(done + most)
        stop = max(start + 1, int(torch.searchsorted(sums, bound, right=True)))
        yield torch.arange(start, stop, device=work.device)
        start, done = stop, int(sums[stop - 1])


def _summed(keys: Tensor, scores: Tensor) -> Block:
    """Add up the scores of equal keys."""
    found, place = torch.unique(keys, return_inverse=True)
    return found, scores.new_zeros(found.numel()).index_add_(0, place, scores)
