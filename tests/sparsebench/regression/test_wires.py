"""Trip wires against measurements that are made up."""

import tomllib

import pytest

from sparsebench.errors import InputError
from sparsebench.regression import wires
from sparsebench.regression.wires import Change, Wire, WireFile

NAME = "training-1024-90%-b128"
WIRE = Wire(NAME, "time", "dense", measured=0.3, limit=0.6)
MEMORY = Wire("training-4096-95%-b16", "memory", "dense", measured=0.4, limit=0.6)


def answering(*ratios):
    """A probe whose n-th process measures the n-th ratio."""
    left = list(ratios)

    def probe(names):
        ratio = left.pop(0)
        return {
            "times": {name: {"ours": ratio, "dense": 1.0} for name in names},
            "memory": {},
            "failed": {},
        }

    return probe


@pytest.mark.parametrize(
    ("ratios", "held", "again"),
    [
        ((0.59,), True, False),
        ((0.7, 0.5), True, True),
        ((0.7, 0.8, 0.5), True, True),
        ((0.7, 0.7, 0.7), False, True),
    ],
)
def test_what_touches_a_wire_is_measured_again(ratios, held, again):
    (found,) = wires.judged([WIRE], answering(*ratios))
    assert (found.held, found.again, found.ratio) == (held, again, ratios[-1])


def test_what_cannot_be_measured_trips_unless_it_is_memory():
    time, memory = wires.judged(
        [WIRE, MEMORY], lambda names: {"times": {}, "memory": {}, "failed": {NAME: "broke"}}
    )
    assert (time.held, time.message) == (False, "broke")
    assert (memory.held, memory.message) == (True, "not measured here")


def test_wires_are_set_at_a_multiple_of_the_median():
    answers = [
        {
            "times": {NAME: {"ours": ours, "dense": 2.0, "torch_csr": 4.0}},
            "memory": {NAME: {"ours": 10, "dense": 20}},
        }
        for ours in (0.5, 0.6, 9.0)
    ]
    assert wires.measured(answers) == (
        Wire(NAME, "time", "dense", 0.3, 1.2),
        Wire(NAME, "time", "torch_csr", 0.15, 0.6),
        Wire(NAME, "memory", "dense", 0.5, 0.75),
    )


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "wires.toml"
    why = 'the "narrow"\npass \\ costs more'
    wires.write(path, WireFile((Change("2026-01-01", "abc", "Anvil", why),), (WIRE, MEMORY)))
    found = wires.load(path)
    assert found.wires == (WIRE, MEMORY)
    assert found.changes[0].because == why.replace("\n", " ")


def test_the_committed_file_can_be_read():
    found = wires.load(wires.FILE)
    assert found.changes[-1].because
    assert {w.measure for w in found.wires} == {"time", "memory"}
    assert all(w.limit >= 1.4 * w.measured for w in found.wires)
    assert any(w.workload.startswith("overhead") for w in found.wires)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workload": "nothing"}, "unknown workload 'nothing': choose from overhead"),
        ({"measure": "speed"}, "measure 'speed': choose from time, memory"),
        ({"against": "tf"}, "against 'tf': choose from dense, torch_csr"),
        ({"limit": 0}, "limit = 0: must be above 0"),
        ({"colour": 1}, "unexpected keyword argument 'colour'"),
    ],
)
def test_mistakes_in_the_file_are_named(change, message, tmp_path):
    path = tmp_path / "wires.toml"
    entries = vars(WIRE) | change
    lines = [f"{k} = {v!r}".replace("'", '"') for k, v in entries.items()]
    path.write_text("[[wire]]\n" + "\n".join(lines) + "\n")
    tomllib.loads(path.read_text())
    with pytest.raises(InputError, match="wires") as raised:
        wires.load(path)
    assert message in str(raised.value)


def test_no_file_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match=r"no such file; make it with: .*--update-trip-wires"):
        wires.load(tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(InputError, match=r"holds no \[\[wire\]\]"):
        wires.load(tmp_path / "empty.toml")
