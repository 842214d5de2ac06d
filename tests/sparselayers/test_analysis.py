"""What the connections look like, against small graphs counted by hand."""

import builtins
import math

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers import analysis
from sparselayers.dynamic import SET


def layer(rows):
    mask = torch.tensor(rows, dtype=torch.bool)
    return sl.SparseLinear(mask.shape[1], mask.shape[0], connectivity=mask)


def chain():
    # Input 2 is seen by nobody; hidden 1 leads nowhere; hidden 2 is reached by nobody.
    return nn.Sequential(
        layer([[1, 1, 0], [1, 0, 0], [0, 0, 0]]),
        nn.ReLU(),
        layer([[1, 0, 1], [1, 0, 0]]),
    )


def test_degrees_by_hand():
    found = analysis.degrees(chain()[0].connectivity)
    assert found.outputs.tolist() == [2, 1, 0]
    assert found.inputs.tolist() == [2, 1, 0]
    assert (found.dead_outputs, found.dead_inputs) == (1, 1)


def test_paths_by_hand():
    model = chain()
    found = analysis.flow([model[0], model[2]])
    # Two inputs reach hidden 0, which reaches both outputs.
    assert found.paths == 4
    assert found.effective == (2, 2)
    assert found.units == (1, 2)
    assert found.depth == 2
    found = analysis.flow([model[0], model[2], nn.Linear(2, 5)])
    assert found.paths == 20
    assert found.effective == (2, 2, 10)
    cut = analysis.flow([layer([[1, 0], [0, 0]]), layer([[0, 1]]), nn.Linear(1, 3)])
    assert (cut.paths, cut.depth, cut.effective) == (0, 1, (0, 0, 0))


def test_paths_are_the_product_of_masks():
    torch.manual_seed(0)
    layers = [sl.SparseLinear(a, b, sparsity=0.7) for a, b in ((20, 15), (15, 12), (12, 8))]
    product = torch.eye(20, dtype=torch.float64)
    for each in layers:
        product = each.connectivity.mask().double() @ product
    assert analysis.flow(layers).paths == product.sum()


def test_small_worlds_by_hand():
    # A square 0 – 0 – 1 – 1 and an input 2 of output 1 alone.
    found = analysis.small_worldness(layer([[1, 1, 0], [1, 1, 1]]).connectivity)
    # Σ (d_u − 1)(d_v − 1) over links: 0 – 0, 0 – 1: 1 · 1 each; 1 – 0, 1 – 1: 2 · 1; 1 – 2: 2 · 0.
    assert found.clustering == pytest.approx(4 * 1 / 6)
    # From output 0: two inputs at 1, output 1 at 2, input 2 at 3. From output 1: 1, 1, 1, 2.
    assert found.distance == pytest.approx((1 + 1 + 2 + 3 + 1 + 1 + 1 + 2) / 8)
    generator = torch.Generator().manual_seed(0)
    near = sl.small_world((200, 200), 0.95, generator=generator)
    free = sl.random((200, 200), 0.95, generator=generator)
    assert analysis.small_worldness(near).worldness > 1.3
    fields = sl.receptive_fields((200, 200), 0.95, randomness=0.3, generator=generator)
    assert analysis.small_worldness(fields).worldness > 2
    assert analysis.small_worldness(free).worldness == pytest.approx(1.0, abs=0.25)
    with pytest.raises(ValueError, match="sources must be at least 1, got 0"):
        analysis.small_worldness(near, sources=0)


def test_a_table_of_a_model():
    table = analysis.topology(chain())
    assert list(table["layer"]) == ["0", "2"]
    assert list(table["connections"]) == [3, 3]
    assert list(table["dead_outputs"]) == [1, 0]
    assert list(table["out_degree_max"]) == [2, 2]
    assert list(table["effective"]) == [2, 2]
    assert list(table["paths"]) == [4, 4]
    apart = nn.ModuleDict({"a": layer([[1, 1, 0]]), "b": layer([[1, 1]])})
    assert analysis.topology(apart)["paths"].isna().all()
    one = analysis.rows(apart, chain=["b"])
    assert [row["paths"] for row in one] == [None, 2]
    assert math.isnan(analysis.rows(layer([[1]]))[0]["clustering"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: analysis.rows(nn.Linear(2, 2)), "no sparse layers"),
        (lambda: analysis.plot(nn.Linear(2, 2)), "no sparse layers"),
        (lambda: analysis.Turnover(nn.Linear(2, 2)), "no sparse layers"),
        (lambda: analysis.rows(chain(), chain=["0", "7"]), "chain names '7': there are '0', '2'"),
        (lambda: analysis.flow([]), "at least one layer"),
        (lambda: analysis.flow([nn.ReLU()]), "layer 0 must be .* got ReLU"),
        (lambda: analysis.flow([layer([[1]]), layer([[1, 1]])]), "layer 1 takes 2 inputs, and"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_turnover_of_a_rewired_layer():
    torch.manual_seed(0)
    model = nn.Sequential(sl.SparseLinear(20, 10, sparsity=0.8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewirer = SET(model, optimizer, update_every=1, stop_after=9, fraction=0.25, decay="constant")
    watched = analysis.Turnover(model)
    ever = model[0].connectivity.mask()
    for number in range(1, 4):
        model(torch.randn(3, 20)).sum().backward()
        optimizer.step()
        rewirer.step()
        ever |= model[0].connectivity.mask()
        row = watched.rows[-1]
        assert (row["layer"], row["change"], row["connections"]) == ("0", number, 40)
        assert row["grown"] == row["dropped"] == 10
        assert row["share"] == 0.25
        assert row["explored"] == pytest.approx(float(ever.float().mean()))
    figure = analysis.plot(model, turnover=watched)
    assert len(figure.axes) == 3
    assert len(watched.table()) == 3
    watched.stop()
    rewirer.step()
    assert len(watched.rows) == 3


def test_without_pandas_and_matplotlib(monkeypatch):
    known = builtins.__import__

    def missing(name, *rest):
        if name.split(".")[0] in ("pandas", "matplotlib"):
            raise ModuleNotFoundError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert len(analysis.rows(chain())) == 2
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        analysis.topology(chain())
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        analysis.plot(chain())
