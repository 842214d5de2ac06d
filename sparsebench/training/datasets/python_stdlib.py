"""The sources of Python's standard library: some megabytes of text on every machine."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from pathlib import Path

from sparsebench.training.datasets.text import Text, encode

NAME = "python-stdlib"
LIMIT = 16_000_000  # bytes: what comes after so many is left out
TESTED = 20  # one file of so many is tested on

# Not everywhere there, not of the library, or written by a build.
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_BUILT = ("config-", "_sysconfigdata")


def load(folder: Path | None = None) -> Text:
    """Return the sources in `folder`; by default those of the Python that runs.

    Files come in the order of the digests of their paths, which is the same on all machines and
    mixes the packages; the first in TESTED of them is the text to test on. The text's name ends
    with a digest of all that is in it, so that figures of different sources have different names.

    Raises FileNotFoundError where there are no sources, ValueError for a file that cannot be read.
    """
    place = Path(folder or sysconfig.get_paths()["stdlib"])
    texts: list[bytes] = []
    digest, size = hashlib.sha256(), 0
    for path in _files(place):
        content = _read(place / path)
        if size + len(content) > LIMIT:
            continue
        size += len(content)
        texts.append(content)
        digest.update(f"{path} {len(content)}\n".encode() + content)
    if len(texts) < 2:
        raise FileNotFoundError(
            f"no sources of Python's standard library in {place}: {NAME} needs two .py files or "
            "more, and this Python may have been installed without them; give the folder of "
            "another one's with --data-dir"
        )
    tested = max(1, len(texts) // TESTED)
    test, train = (
        encode(b"\n".join(part).decode("utf-8", "replace"))
        for part in (texts[:tested], texts[tested:])
    )
    return Text(f"{NAME}-{digest.hexdigest()[:12]}", train, test)


def _files(place: Path) -> list[str]:
    """Return the paths of the sources below `place`, with slashes, in the order of digests."""
    found = []
    for folder, below, names in os.walk(place):
        below[:] = [name for name in below if _is_kept(name)]
        own = Path(folder).relative_to(place)
        found += [(own / n).as_posix() for n in names if n.endswith(".py") and _is_kept(n)]
    return sorted(found, key=lambda path: hashlib.sha256(path.encode()).digest())


def _is_kept(name: str) -> bool:
    return name not in _LEFT_OUT and not name.startswith(_BUILT)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().replace(b"\r\n", b"\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
