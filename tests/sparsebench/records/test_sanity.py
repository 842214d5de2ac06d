"""Records with content that cannot be: left out, by file, line and field."""

import json

import pytest

from sparsebench.records import load
from tests.sparsebench.factory import record


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", [1.0, float("nan")], "samples: sample 1 = nan: must be above 0, and finite"),
        ("samples", [0.0], "samples: sample 0 = 0.0: must be above 0"),
        ("wall_samples", [1.0, float("inf")], "wall_samples: sample 1 = inf"),
        ("case.sparsity", 1.5, "case: sparsity = 1.5: must be in [0, 1)"),
        ("case.sparsity", float("nan"), "case: sparsity = nan: must be in [0, 1)"),
        ("case.dtype", "float7", "case: dtype = 'float7': choose from float64, float32"),
        ("case.device", "toaster", "case: device = 'toaster': must be cpu, cuda"),
        ("case.in_features", 10**30, "in_features"),
        ("case.batch", 0, "case: batch = 0: must be between 1 and 2^48"),
        ("case.groups", 0, "case: groups = 0: must be at least 1"),
        ("case.padding", -1, "with padding = -1"),
        ("case.seed", 10**30, "seed"),
        ("memory", {"held": -5}, "memory.held: -5: must be between 0 and 2^48"),
        ("memory", {"training_peak": 10**30}, "memory.training_peak"),
        ("calls_per_sample", -1, "calls_per_sample: -1: must be between 0"),
        ("case.phase", "dream", "case.phase = 'dream': Input should be 'inference'"),
        ("status", "fine", "status = 'fine': Input should be 'ok'"),
        ("samples", "quick", "samples = 'quick': Input should be a valid array"),
    ],
)
def test_what_cannot_be_is_left_out_and_named(field, value, message, tmp_path):
    good, bad = record(1.0).model_dump_json(), json.loads(record(2.0).model_dump_json())
    table = bad["case"] if field.startswith("case.") else bad
    table[field.removeprefix("case.")] = value
    path = tmp_path / "records.jsonl"
    path.write_text(good + "\n" + json.dumps(bad) + "\n")
    with pytest.warns(UserWarning, match="is no record and is left out") as caught:
        (found,) = load(path)
    assert found.samples[0] == pytest.approx(1.0)
    (warning,) = caught
    assert f"{path}, line 2 is no record and is left out: " in str(warning.message)
    assert message in str(warning.message)
