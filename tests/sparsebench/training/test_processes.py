"""Two real processes, connected by gloo, train as one."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn import functional as F
from torch.profiler import profile

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.measuring import isolation
from sparsebench.training import loop
from sparsebench.training.processes import ProcessError, Processes, name_of_start
from sparsebench.training.records import load
from sparsebench.training.settings import MLPSetting
from sparsebench.training.state import Progressing
from sparsebench.training.warm_up import warm_up
from tests.sparsebench.training.conftest import Silent, make_digits

SETTING = MLPSetting(
    experiment="test", row="sparse", sparsity=0.5, width=40, epochs=2, batch=32, lr=0.05,
    dataset="mnist-subset",
)  # fmt: skip
CHANGES = [
    {"model": "dense"},
    {"rewiring": "rigl", "update_every": 5, "fraction": 0.3},
    {"rewiring": "set", "update_every": 5, "fraction": 0.3, "activation": "kwinners"},
    {"model": "masked", "rewiring": "rigl", "update_every": 5, "fraction": 0.3},
]


@pytest.fixture(autouse=True, scope="module")
def _server():
    """Processes are forked from one that has imported everything, as those of other tests are."""
    multiprocessing.set_forkserver_preload(["torch._dynamo", *isolation._PRELOADED, __name__])


def in_two_processes(test, folder):
    mp.start_processes(_run, (test, folder), nprocs=2, start_method="forkserver")


def _run(rank, test, folder):
    store = f"file://{folder / 'store'}"
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        test(Processes(rank, 2, rank), folder)
    finally:
        dist.destroy_process_group()


def numbers(record):
    assert record.status == "ok", record.message
    return [(epoch.loss, epoch.accuracy) for epoch in record.epochs]


def alike(processes, folder):
    """What comes out of training is the same in both, and what one process alone gets."""
    digits = make_digits()
    for change in CHANGES:
        setting = replace(SETTING, processes=2, **change)
        record = loop.train(setting, digits, Silent(), processes=processes)
        every = [None, None]
        dist.all_gather_object(every, numbers(record))
        assert every[0] == every[1]
        single = replace(setting, processes=1)
        alone = processes.of_first(lambda single=single: loop.train(single, digits, Silent()))
        torch.testing.assert_close(
            torch.tensor(numbers(record)), torch.tensor(numbers(alone)), rtol=1e-3, atol=2e-2
        )
        assert alone.epochs[0].communicated == 0
        trained = record.parameters + 2 * setting.width  # those of the LayerNorm
        if setting.model == "masked":
            trained += 784 * 40 + 40 * 10 - record.weights
        assert record.epochs[0].communicated == 4 * trained * (300 // 32)


def only_gradients_travel(processes, folder):
    """The profiler sees all that is given to collectives in a step: a gradient for each weight."""
    images, labels = torch.randn(16, 784), torch.zeros(16, dtype=torch.long)
    setting = replace(SETTING, processes=2, activation="kwinners")
    progress = Progressing.start(setting, processes)
    for _ in range(2):  # in the second step the processes agree once how to pack gradients
        progress.step(images, labels)
    with profile(record_shapes=True) as profiled:
        F.cross_entropy(progress.model(images), labels).backward()
    sent = [event.input_shapes for event in profiled.events() if event.name.startswith("gloo:")]
    weights = 784 * 20 + 10 * 20
    biases_and_norm = 40 + 10 + 2 * 40
    duty_cycle = 40
    total = sum(torch.Size(shape).numel() for shapes in sent for shape in shapes)
    assert total == weights + biases_and_norm + duty_cycle, sent


def differing(processes, folder):
    """A process whose weights went another way is named by all, and nothing is recorded."""

    class Corrupts(Silent):
        def step(self):
            if processes.rank == 1:
                with torch.no_grad():
                    progress[0].network.hidden.weights[7] += 1.0

    progress = []
    start = Progressing.start

    def remember(*arguments, **options):
        progress.append(start(*arguments, **options))
        return progress[-1]

    Progressing.start = remember
    setting = replace(SETTING, processes=2, rewiring="set", update_every=5)
    warm_up(setting)
    progress.clear()
    message = f"process {processes.rank}: layer 'hidden': .* on rank 1 and on rank 0 differ"
    with pytest.raises(ProcessError, match=message):
        loop.train(setting, make_digits(), Corrupts(), processes=processes)


def agreed(processes, folder):
    """Wrong input that one process finds is known to all; the first goes ahead of the others."""

    def fails():
        raise InputError("no data here")

    with pytest.raises(InputError, match="process 1: no data here"):
        processes.together(fails if processes.rank == 1 else lambda: 1)
    with pytest.raises(InputError, match=r"^no data here"):
        processes.together(fails)
    file = folder / "made by the first"
    assert processes.together(lambda: file.touch() if processes.first else file.exists()) in (
        None,
        True,
    )
    assert processes.of_first(lambda: processes.rank) == 0
    (folder / "only here").write_bytes(b"content") if processes.first else None
    assert processes.file(folder / "only here").read() == b"content"
    assert processes.file(folder / "nowhere") is None


def everything(processes, folder):
    for test in (alike, only_gradients_travel, differing, agreed):
        test(processes, folder)


def test_two_processes(tmp_path):
    in_two_processes(everything, tmp_path)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(ValueError, match="batch must be a multiple of the 3 processes, got 32"):
        replace(SETTING, processes=3)


def test_every_start_has_a_name_of_its_own_whatever_earlier_ones_left():
    store = dist.HashStore()
    store.set("asks/1", "a process that died before it had an answer")
    names = []
    with ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            name, *others = pool.map(lambda rank: name_of_start(store, rank, 3), range(3))
            assert others == [name, name]
            names.append(name)
    assert len(set(names)) == 2
    with pytest.raises(ProcessError, match="process 1 did not join within 0:00:00"):
        name_of_start(store, 0, 2, within=timedelta(0))


def train_command(folder, dies):
    """One of the processes that torchrun starts; the second dies once, in the second epoch."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    step = Progressing.step
    taken = []

    def step_or_die(progress, *batch):
        taken.append(len(progress.epochs))
        # The first process took part in two steps of this epoch, so its checkpoint is there.
        if taken.count(1) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(progress, *batch)

    if dies and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        Progressing.step = step_or_die
    sys.argv = [
        "sparsebench", "train", "mnist", "--dataset", "mnist-subset", "--row", "sparse",
        "--width", "40", "--epochs", "3", "--threads", "1", "--untimed", "--fresh",
        "--out", str(folder),
    ]  # fmt: skip
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"the command ended with {end.code}") from None


@pytest.fixture
def _same_handlers():
    """The engine of torchrun handles signals, and leaves it so."""
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("_same_handlers")
def test_torchrun_restarts_after_a_killed_process_and_goes_on_to_the_same_result(tmp_path):
    """With the engine of torchrun, which can fork processes that have imported everything."""
    records = []
    for dies in (False, True):
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=int(dies), run_id="test",
            rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost",
            start_method="forkserver", monitor_interval=0.05,
        )  # fmt: skip
        elastic_launch(config, train_command)(tmp_path / str(dies), dies)
        (record,) = load(tmp_path / str(dies))
        records.append(record)
    assert [record.resumed for record in records] == [0, 1]
    assert len(numbers(records[0])) == 3
    assert numbers(records[0]) == numbers(records[1])
