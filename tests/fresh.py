"""Scripts that need a process in which nothing has happened, without an import of torch for each.

They are forked from one that has only imported torch, and what an optimizer imports when there is a
first: one for all tests of this process. It does no arithmetic, as OpenMP's threads do not survive
a fork. What a script does, and how it ends, is that of a program.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
from typing import NamedTuple

_SERVER = """\
import gc, json, os, sys, tempfile
import torch, torch._dynamo
gc.collect()
gc.freeze()  # or every fork would look at it, and so have a copy

def _said(script):
    files = [tempfile.TemporaryFile() for _ in range(2)]
    if (child := os.fork()) == 0:
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[1].fileno(), 2)
        exec(script, globals())
        sys.exit()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files:
        file.seek(0)
    return ended, *(file.read().decode() for file in files)

_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for _line in sys.stdin:
    if (_child := os.fork()) == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _common, _scripts, _folder, _environment = json.loads(_line)
        os.chdir(_folder)
        os.environ.clear()
        os.environ.update(_environment)
        exec(_common, globals())
        _answers.write(json.dumps([_said(script) for script in _scripts]) + "\\n")
        _answers.flush()
        os._exit(0)
    if os.waitpid(_child, 0)[1]:
        _answers.write("null\\n")
        _answers.flush()
"""

# For the end of a script: what Python clears up when a program ends takes a second.
OVER = """
import os, sys
sys.stdout.flush(), sys.stderr.flush()
os._exit(0)
"""

# mallopt(3): every array is mapped by itself and given back when it is freed, as peaks need it.
_HEAP = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


class Said(NamedTuple):
    """How a script ended, and what it wrote."""

    status: int
    out: str
    err: str


def each(common, scripts, **environment):
    """Run `common` in a fresh process, and then each script in a fork of it, one after another.

    Returns what each of them said. Scripts see the names that `common` makes. Blocks of memory
    from 64 KiB on are mapped by themselves, and so given back when they are freed.
    """
    server = _server()
    asked = [common, list(scripts), os.getcwd(), os.environ | environment]
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    assert answer is not None, f"what is common to the scripts failed:\n{common}"
    return [Said(*each) for each in answer]


def one(script, **environment):
    """Run a script in a fresh process, and return what it printed. It has to come to its end."""
    (said,) = each("", [script + OVER], **environment)
    assert said.status == 0, said.err
    return said.out


@functools.cache
def _server():
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], env=os.environ | _HEAP,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def end():
        with server:  # which waits
            server.stdin.close()

    atexit.register(end)
    return server
