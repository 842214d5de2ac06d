"""Conditions on cases."""

from dataclasses import replace

import pytest

from sparsebench.cases import names
from sparsebench.cases.filters import parse
from sparsebench.errors import InputError
from tests.sparsebench.cases.test_case import CASE


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("sparsity=0.9", True),
        ("sparsity=0.5,0.9", True),
        ("sparsity!=0.5,0.9", False),
        ("sparsity > 0.9", False),
        ("batch<=4", True),
        ("implementation=ours,dense", True),
        ("implementation!=dense", False),
        ("phase=train_step", False),
        ("width=30", False),  # the layer is not square
        ("width>=20", True),
        ("width>20", False),
        ("in_features>20", True),
        ("device=cpu", True),
    ],
)
def test_conditions(text, holds):
    assert parse(text)(CASE) is holds


def test_width_is_of_square_layers():
    assert parse("width=30")(replace(CASE, out_features=30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparsity", "no condition"),
        ("size=3", "no field 'size': choose from implementation, "),
        ("batch=many", "batch is a number, got 'many'"),
        ("phase<inference", "no number"),
        ("implementation=mine", "unknown implementation 'mine': choose from dense"),
        ("implementation=graphs", "unknown implementation 'graphs': choose from dense"),
    ],
)
def test_an_error_says_what_is_allowed(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


def test_names_that_are_known_without_importing_are_those_of_the_competitors():
    """The folder has files of what several of them share, too."""
    from sparsebench.implementations import OWN

    assert set(names._own_implementations()) == {*OWN}
