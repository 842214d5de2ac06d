"""Scripts that need a process in which nothing has happened, without an import of torch for each.

They are forked from one that has only imported what they need. It does no arithmetic, as OpenMP's
threads do not survive a fork. What a script does, and how it ends, is that of a program.
"""

import json
import os
import subprocess
import sys
from typing import NamedTuple

_PROGRAM = """\
import json, os, sys, tempfile

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

_common, _scripts = json.loads(sys.argv[1])
exec(_common, globals())
print(json.dumps([_said(script) for script in _scripts]))
"""


class Said(NamedTuple):
    """How a script ended, and what it wrote."""

    status: int
    out: str
    err: str


def each(common, scripts, **environment):
    """Run `common` in a fresh process, and then each script in a fork of it, one after another.

    Returns what each of them said. Scripts see the names that `common` makes.
    """
    command = [sys.executable, "-c", _PROGRAM, json.dumps([common, list(scripts)])]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return [Said(*each) for each in json.loads(done.stdout)]
