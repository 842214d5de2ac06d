"""The verdict about measurements that are made up, so that what is true of them is known."""

import numpy as np
import pytest

from sparsebench.regression import judging

NAMES = [f"workload-{n}" for n in range(12)]


def probe(seed=0, *, slower=(), factor=1.3, scatter=0.03, disturbed=0.0):
    """Processes that scatter, and of which some are disturbed: what another program does to them.

    Disturbed ones take up to twice as long, whatever they measure.
    """
    rng = np.random.default_rng(seed)

    def measure(side, names):
        hit = 1 + (rng.uniform(0, 1) if rng.uniform() < disturbed else 0)
        return {
            "times": {
                name: {
                    "ours": hit
                    * np.exp(rng.normal(0, scatter))
                    * (factor if side == "head" and name in slower else 1)
                }
                for name in names
            },
            "memory": {},
            "failed": {},
        }

    return measure


def verdicts(findings):
    return {f.workload: f.verdict for f in findings}


def test_a_ratio_and_its_interval():
    rng = np.random.default_rng(0)
    base, head = np.exp(rng.normal(0, 0.1, 400)), 1.3 * np.exp(rng.normal(0, 0.1, 400))
    found = judging.ratio(base, head, name="x")
    quick = [np.exp(np.log(np.sort(side)[:160]).mean()) for side in (base, head)]
    assert found.value == pytest.approx(quick[1] / quick[0])
    assert judging.typical(base) == pytest.approx(quick[0])
    assert found.low < 1.3 < found.high
    # The standard error of such a mean, from samples of its own; there are two of them.
    means = [np.sort(rng.normal(0, 0.1, 400))[:160].mean() for _ in range(2000)]
    half = (np.log(found.high) - np.log(found.low)) / 2
    assert half == pytest.approx(1.96 * 2**0.5 * np.std(means), rel=0.2)


def test_one_process_that_was_disturbed_does_not_matter():
    found = judging.ratio([1, 1.01, 0.99, 1, 1], [1, 5.0, 1.01, 0.99, 1], name="x")
    assert found.value == 1
    assert found.high < 5


@pytest.mark.parametrize("seed", range(5))
def test_thirty_percent_is_caught(seed):
    found = judging.judged(probe(seed, slower=NAMES[:3]), NAMES)
    slower = {name for name, verdict in verdicts(found).items() if verdict == "slower"}
    assert slower == set(NAMES[:3])
    assert all(f.again for f in found if f.verdict == "slower")


def test_twenty_percent_is_caught_on_a_machine_that_others_use():
    """In 19 of 20, that is: the one workload of twelve that is slower."""
    caught = 0
    for seed in range(20):
        slower = probe(seed, slower=NAMES[:1], factor=1.2, scatter=0.05, disturbed=0.3)
        found = verdicts(judging.judged(slower, NAMES))
        caught += found.pop(NAMES[0]) == "slower"
        assert "slower" not in found.values()
    assert caught >= 18


@pytest.mark.parametrize("seed", range(20))
def test_the_same_code_passes_on_a_machine_that_others_use(seed):
    found = judging.judged(probe(seed, scatter=0.05, disturbed=0.3), NAMES)
    assert "slower" not in verdicts(found).values()


def test_sides_alternate_and_only_suspects_are_measured_again():
    asked = []
    inner = probe(slower=NAMES[:1])

    def remember(side, names):
        asked.append((side, len(names)))
        return inner(side, names)

    judging.judged(remember, NAMES, processes=5)
    order = ["base", "head", "head", "base", "base", "head", "head", "base", "base", "head"]
    assert asked == [*((s, 12) for s in order), *((s, 1) for s in order)]


def test_the_verdict_is_that_of_the_second_measurement():
    calls = {"base": 0, "head": 0}

    def once(side, names):
        calls[side] += 1
        slow = side == "head" and calls[side] <= 5  # the first round alone
        times = {name: {"ours": 2.0 if slow else 1.0} for name in names}
        return {"times": times, "memory": {}, "failed": {}}

    (found,) = judging.judged(once, ["a"])
    assert (found.verdict, found.again, found.ratio.value) == ("same", True, 1.0)
    assert found.head == [1.0] * 5


def test_what_stays_uncertain_gets_more_processes():
    """Of five processes of the head one is as quick as the base's, in each round."""
    calls = {"base": 0, "head": 0}

    def measure(side, names):
        calls[side] += 1
        seconds = 1.0 if side == "base" else (1.3, 1.3, 1.3, 1.3, 1.0)[calls[side] % 5]
        return {"times": {n: {"ours": seconds} for n in names}, "memory": {}, "failed": {}}

    (found,) = judging.judged(measure, ["a"])
    assert (len(found.base), len(found.head)) == (30, 30)
    assert (found.ratio.value, found.again) == (pytest.approx(1.3**0.5), True)
    assert found.first == {"base": [1.0] * 5, "head": [1.3, 1.3, 1.3, 1.0, 1.3]}


def test_memory_is_judged_like_time_and_pages_do_not_count():
    def measure(side, names):
        grown = {"small": 1000, "large": 50_000_000} if side == "head" else {}
        sizes = {"small": 100_000, "large": 100_000_000}
        return {
            "times": {name: {"ours": 1.0} for name in names},
            "memory": {name: {"ours": sizes[name] + grown.get(name, 0)} for name in names},
            "failed": {},
        }

    found = {(f.workload, f.measure): f for f in judging.judged(measure, ["small", "large"])}
    assert found["large", "memory"].verdict == "slower"
    assert found["small", "memory"].verdict == "same"
    assert {f.verdict for key, f in found.items() if key[1] == "time"} == {"same"}


@pytest.mark.parametrize(
    ("failing", "verdict"),
    [({"head"}, "broken"), ({"base"}, "not in base"), ({"base", "head"}, "no time")],
)
def test_what_fails_on_one_side_says_why(failing, verdict):
    def measure(side, names):
        if side in failing:
            return {"times": {}, "memory": {}, "failed": {"a": f"no a in {side}"}}
        return {"times": {"a": {"ours": 1.0}}, "memory": {}, "failed": {}}

    (found,) = judging.judged(measure, ["a"])
    assert found.verdict == verdict
    assert found.message in {f"no a in {side}" for side in failing}
