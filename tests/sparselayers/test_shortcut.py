"""Which launches are taken past Triton's Python, tried on stand-ins of what it compiles."""

import threading

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")

from sparselayers.backends.triton_kernels import shortcut  # noqa: E402 — it needs Triton

REST = (7, None, "a type")


class Driver:
    """A device, and streams that are asked for at every launch."""

    def __init__(self):
        self.stream = 10

    def get_current_device(self):
        return 3

    def get_current_stream(self, device):
        assert device == 3
        return self.stream


class Launcher:
    """What stands between a compiled kernel and the part in C, which `launched` is seen of."""

    def __init__(self, hand):
        self.hand, self.launched = hand, []
        self.launch = lambda *handed: self.launched.append(handed)

    def __call__(self, *given):
        self.hand(self.launch, *given)


class Made:
    """A compiled kernel."""

    def __init__(self, hand):
        self.run = Launcher(hand)

    def __getitem__(self, grid):
        hook = triton.knobs.runtime.launch_enter_hook
        return lambda *arguments, stream: self.run(*grid, stream, "kernel", hook, *arguments)


def packed(launch, *given):
    """Hand the arguments over in one, as Triton 3.8 does."""
    launch(*given[:6], None, given[6:])


def one_by_one(launch, *given):
    """Hand them over one by one, as Triton 3.4 to 3.7 do."""
    launch(*given[:5], None, *given[5:])


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    return driver


@pytest.mark.parametrize("hand", [packed, one_by_one])
def test_what_triton_hands_over_is_handed_over(hand, driver):
    made = Made(hand)
    found = shortcut.of(made, 5, 2, REST)
    assert made.run.launched == []  # it was seen, and not done
    for driver.stream in (10, 11):
        given = 100, 200, *REST
        given = (given,) if found.packed else given
        found.call(*found.before, found.stream_of(found.device), *found.after, *given)
        made[5, 1, 1](100, 200, *REST, stream=driver.stream)
        ours, theirs = made.run.launched[-2:]
        hook = triton.knobs.runtime.launch_enter_hook
        assert ours == tuple(None if each is hook else each for each in theirs)
        assert driver.stream in ours


def fewer(launch, *given):
    launch(*given[:-1])


def more(launch, *given):
    launch(*given, "another")


def other_copies(launch, *given):
    launch(*given[:6], [*given[6:]])


def twice(launch, *given):
    packed(launch, *given)
    packed(launch, *given)


def never(launch, *given):
    pass


def two_streams(launch, *given):
    packed(launch, given[3], *given[1:])


def fails(launch, *given):
    raise TypeError("an address is a number")


@pytest.mark.parametrize("hand", [fewer, more, other_copies, twice, never, two_streams, fails])
def test_whatever_looks_otherwise_stays_tritons(hand):
    made = Made(hand)
    launch = made.run.launch
    assert shortcut.of(made, 5, 2, REST) is None
    assert made.run.launch is launch
    assert made.run.launched == []


def test_a_kernel_without_such_a_part_stays_tritons():
    made = Made(packed)
    del made.run.launch
    assert shortcut.of(made, 5, 2, REST) is None


def test_what_others_launch_meanwhile_takes_place():
    def busy(launch, *given):
        if given[-1] != "theirs":
            theirs = (*given[:6], 1, 2, "theirs")
            other = threading.Thread(target=made.run, args=theirs)
            other.start()
            other.join()
        packed(launch, *given)

    made = Made(busy)
    assert shortcut.of(made, 5, 2, REST) is not None
    assert [handed[-1] for handed in made.run.launched] == [(1, 2, "theirs")]


@pytest.mark.parametrize("name", ["launch_enter_hook", "launch_exit_hook"])
def test_whoever_watches_has_tritons_own_launches(name):
    chain = getattr(triton.knobs.runtime, name)

    def hook(metadata):
        """See a launch."""

    chain.add(hook)
    try:
        assert shortcut.BEFORE or shortcut.AFTER
        assert shortcut.of(Made(packed), 5, 2, REST) is None
    finally:
        chain.remove(hook)
    assert not shortcut.BEFORE
    assert not shortcut.AFTER
    assert shortcut.of(Made(packed), 5, 2, REST) is not None
