"""Where `--on` sends a sweep, read and checked before anything is connected."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from sparsebench.errors import InputError

_ALLOWED = "write tcp://HOST:PORT or tls://HOST:PORT of a Dask scheduler, or local:WORKERS"


@dataclass(frozen=True)
class TLS:
    """Files in PEM format: the authority's certificate, and this side's own with its key."""

    ca_file: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class Target:
    """A scheduler's address, or as many `workers` to be started on this machine."""

    address: str = ""
    workers: int = 0
    tls: TLS | None = None

    def __str__(self) -> str:
        return self.address or f"local:{self.workers}"


def parse(
    text: str, *, ca_file: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> Target:
    """Read what `--on` and the options for TLS say.

    Raises InputError for any other text, a port out of range, TLS files that are not there, or
    not all given.
    """
    tls = _tls(ca_file, cert, key)
    if local := re.fullmatch(r"local:(\d+)", text):
        if not 1 <= int(local[1]) <= 64:
            raise InputError(f"--on {text}: from 1 to 64 workers can be started here")
        return Target(workers=int(local[1]), tls=tls)
    remote = re.fullmatch(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d+)/?", text)
    if remote is None:
        raise InputError(f"--on {text}: no address of a cluster: {_ALLOWED}")
    protocol, host, port = remote.groups()
    if not 1 <= int(port) <= 65535:
        raise InputError(f"--on {text}: a port is a number from 1 to 65535, got {port}")
    if protocol == "tcp" and tls:
        raise InputError(f"--on {text}: with --tls-… files the address begins with tls://")
    return Target(address=f"{protocol}://{host}:{port}", tls=tls)


def exposed(address: str) -> bool:
    """Return whether `address` is one that other machines reach, and without TLS."""
    protocol, _, place = address.partition("://")
    if protocol == "tls":
        return False
    host = place.rpartition(":")[0].strip("[]")
    try:
        numbers = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # what it stands for is unknown, and connecting will say so
    return not all(ipaddress.ip_address(n.partition("%")[0]).is_loopback for n in numbers)


def _tls(ca_file: Path | None, cert: Path | None, key: Path | None) -> TLS | None:
    files = {"--tls-ca-file": ca_file, "--tls-cert": cert, "--tls-key": key}
    for option, file in files.items():
        if file is not None and not file.is_file():
            raise InputError(f"{option} {file}: no such file")
    if ca_file and cert and key:
        return TLS(ca_file, cert, key)
    if given := [option for option, file in files.items() if file]:
        missing = [option for option, file in files.items() if not file]
        raise InputError(f"{', '.join(given)} without {', '.join(missing)}: TLS needs all three")
    return None
