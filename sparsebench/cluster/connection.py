"""A Dask cluster as the dispatcher sees it: who is there, work to be sent, and what comes back."""

from __future__ import annotations

import logging
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from sparsebench.cluster.target import Target, exposed
from sparsebench.errors import ClusterError, InputError

_FETCH_S = 10.0
_ANSWER_S = 60.0  # a scheduler that is busy may take some
_GOODBYE_S = 10.0


@dataclass(frozen=True)
class Worker:
    """A worker that the scheduler lists: its name, and when it last gave a sign of life."""

    name: str
    last_seen: float


@dataclass(frozen=True)
class Ended:
    """Work that ended: with an answer, or an error."""

    key: str
    answer: Any = None
    error: str = ""


class Cluster(Protocol):
    """What the dispatcher needs of a cluster. Every method raises ClusterError once it is gone."""

    inbox: queue.SimpleQueue[Ended | str]  # what ended, and lines that agents said

    def workers(self) -> Mapping[str, Worker]:
        """Return who is there now, by address."""

    def greet(self, key: str, address: str) -> None:
        """Ask a worker for its greeting, to be the answer in the inbox."""

    def work(self, key: str, address: str, task: str) -> None:
        """Send `task` to a worker; its lines come to the inbox, and all records as the answer."""

    def forget(self, key: str) -> None:
        """Take no more interest in how `key` ends."""


@contextmanager
def connected(target: Target, topic: str, timeout_s: float) -> Iterator[DaskCluster]:
    """Connect to `target`, or start it; on leaving, end what is under way for `topic`.

    Raises InputError where Dask is not installed, ClusterError where no scheduler answers within
    `timeout_s`. Warns where others could send work to the scheduler as well.
    """
    if find_spec("distributed") is None:
        raise InputError(
            "--on needs Dask, which is not installed; install it with: pip install distributed"
        )
    import distributed

    with _quiet():
        security = _security(target)
        local = _started(target, security) if target.workers else None
        try:
            client = distributed.Client(
                local or target.address, timeout=timeout_s, security=security,
                set_as_default=False, name="sparsebench",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()
            raise ClusterError(
                f"no Dask scheduler answers at {target} within {timeout_s:g} s (--timeout): "
                f"{reason[0] if reason else type(error).__name__}"
            ) from None
        cluster = DaskCluster(client, str(target), topic)
        try:
            cluster.listen()
            yield cluster
        finally:
            cluster.close()
            if local is not None:
                with suppress(OSError, TimeoutError):
                    local.close(timeout=10)


class DaskCluster:
    """A Cluster over a `distributed.Client`."""

    def __init__(self, client: Any, name: str, topic: str) -> None:
        self.inbox: queue.SimpleQueue[Ended | str] = queue.SimpleQueue()
        self._client, self._name, self._topic = client, name, topic
        self._futures: dict[str, Any] = {}

    def listen(self) -> None:
        """Begin to take in what agents say; warn where anyone else could send work."""
        if exposed(address := str(self._info()["address"])):
            warnings.warn(
                f"{address} can be reached from other machines, without TLS: whoever reaches it "
                "can run programs on its workers; see docs/guides/cluster.md",
                stacklevel=2,
            )
        self._client.subscribe_topic(self._topic, lambda event: self.inbox.put(event[1]))

    def workers(self) -> Mapping[str, Worker]:
        """Return who is there now, by address."""
        return {
            address: Worker(_label(address, worker), float(worker["last_seen"]))
            for address, worker in self._info()["workers"].items()
            if worker["status"] == "running"
        }

    def greet(self, key: str, address: str) -> None:
        """Ask a worker for its greeting, to be the answer in the inbox."""
        from sparsebench.cluster import member  # distributed, an extra

        self._submit(key, address, member.greet)

    def work(self, key: str, address: str, task: str) -> None:
        """Send `task` to a worker; its lines come to the inbox, and all records as the answer."""
        from sparsebench.cluster import member  # distributed, an extra

        self._submit(key, address, member.work, task, self._topic, resources={member.RESOURCE: 1})

    def forget(self, key: str) -> None:
        """Take no more interest in how `key` ends."""
        future = self._futures.pop(key, None)
        if future is not None:
            with suppress(Exception):  # what cannot be cancelled is gone
                future.cancel()

    def close(self) -> None:
        """End what workers are still doing for us, and the connection."""
        _at_most(_GOODBYE_S, self._stop)
        _at_most(_GOODBYE_S, lambda: self._client.close(timeout=5))

    def _stop(self) -> None:
        from sparsebench.cluster import member  # distributed, an extra

        if self._futures and self._client.status == "running":
            with suppress(Exception):  # they end with their task anyway
                self._client.run(member.stop, self._topic, on_error="ignore")
        for key in list(self._futures):
            self.forget(key)

    def _submit(
        self, key: str, address: str, function: Callable[..., Any], *args: str, **options: Any
    ) -> None:
        future = self._client.submit(
            function, *args, key=f"{self._topic}-{key}", workers=[address],
            allow_other_workers=False, pure=False, **options,
        )  # fmt: skip
        self._futures[key] = future
        future.add_done_callback(lambda ended: self.inbox.put(self._ended(key, ended)))

    def _ended(self, key: str, future: Any) -> Ended:
        """What came out, fetched in the thread that tells of it.

        It may have died with its worker just now: `forget` ends the waiting for it then.
        """
        try:
            return Ended(key, answer=future.result(timeout=_FETCH_S))
        except Exception as error:
            return Ended(key, error=f"{type(error).__name__}: {error}")
        finally:
            self._futures.pop(key, None)

    def _info(self) -> Any:
        found = None
        if self._client.status == "running":
            # Not scheduler_info, which waits for ever for one that dies meanwhile.
            with suppress(Exception):  # whatever it is, nobody answers
                found = self._client.sync(
                    self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_S
                )
        if not found or self._client.status != "running":
            raise ClusterError(f"the Dask scheduler at {self._name} is gone")
        return found


def _at_most(seconds: float, call: Callable[[], object]) -> None:
    """Have `call` made, whatever comes of it: asking a scheduler that just died has no end."""

    def quietly() -> None:
        with suppress(Exception):
            call()

    caller = threading.Thread(target=quietly, daemon=True)
    caller.start()
    caller.join(seconds)


def _label(address: str, worker: Mapping[str, Any]) -> str:
    """Name a worker so that people find it: "worker 3 at 10.0.0.7"."""
    place = address.rpartition("://")[2]
    if str(worker["name"]) == address:
        return f"worker {place}"
    return f"worker {worker['name']} at {place.rpartition(':')[0]}"


def _security(target: Target) -> Any:
    """Dask's own settings (its files and DASK_… variables), or the files given."""
    import distributed

    if target.tls is None:
        return distributed.Security() if target.address.startswith("tls://") else None
    settings = {"tls_ca_file": str(target.tls.ca_file)}
    for role in ("client", "scheduler", "worker"):
        settings[f"tls_{role}_cert"] = str(target.tls.cert)
        settings[f"tls_{role}_key"] = str(target.tls.key)
    return distributed.Security(require_encryption=True, **settings)


def _started(target: Target, security: Any) -> Any:
    """Start a scheduler in this process and workers beside it, on loopback alone."""
    import distributed

    return distributed.LocalCluster(
        n_workers=target.workers, threads_per_worker=1, processes=True, host="127.0.0.1",
        protocol="tls" if target.tls else "tcp", security=security, dashboard_address=None,
        memory_limit=0, silence_logs=logging.CRITICAL,
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Have Dask say nothing of its own: what goes wrong is told once, in our words."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    loggers += [
        logging.getLogger(name)
        for name in logging.root.manager.loggerDict
        if name.startswith("distributed.")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
