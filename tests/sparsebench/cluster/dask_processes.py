"""What tests of clusters share: real Dask processes on loopback, and who watches."""

import collections
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsebench.cluster.target import TLS
from sparsebench.measuring import hostlock

PATIENCE_S = 600


class Processes:
    """A scheduler and workers, each a process; every worker is a host of its own: it has its own
    locks."""

    def __init__(self, folder: Path, tls: TLS | None = None):
        self.folder, self.tls = folder, tls
        self._options = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        if tls:
            self._options += ["--protocol", "tls", "--tls-ca-file", str(tls.ca_file)]
            self._options += ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]
        self.started = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self._file)
        wait_for(lambda: self._file.exists() and self._file.read_text().endswith("}"))
        self.address = json.loads(self._file.read_text())["address"]

    def worker(self, name, host=None, **environment):
        """Start a worker."""
        locks = self.folder / (host or name)
        locks.mkdir(exist_ok=True)
        return self._start(
            "worker", "--no-nanny", "--nthreads", "1", "--scheduler-file", self._file,
            "--name", name, "--local-directory", self.folder,
            **{hostlock.VARIABLE: str(locks)}, **environment,
        )  # fmt: skip

    def end(self):
        """Kill them all."""
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()

    def _start(self, what, *options, **environment):
        log = (self.folder / f"{what}{len(self.started)}.log").open("w")
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *self._options]
        command += map(str, options)
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
        log.close()
        self.started.append(process)
        return process


class Silent:
    """Shows nothing; remembers what was said, and who measured how many."""

    def __init__(self):
        self.said, self.counts = [], collections.Counter()

    def under_way_on(self, worker, case):
        pass

    def waiting(self, why):
        self.said.append(why)

    def idle(self, worker):
        pass

    def counted(self, worker):
        self.counts[worker] += 1


def certificate(folder):
    """Make a certificate that is its own authority; skips where OpenSSL is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return TLS(cert, cert, key)


def wait_for(condition):
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
