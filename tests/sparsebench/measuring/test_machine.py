"""The fingerprint: enough to compare by, nothing about whose machine it is."""

import getpass
import json
import platform
from pathlib import Path

from sparsebench.measuring import machine


def test_it_says_what_a_time_depends_on():
    found = machine.fingerprint()
    assert found["cpu"]["model"]
    assert found["cpu"]["cores"] >= 1
    assert found["memory_gib"] >= 1
    assert found["torch"]["version"]
    assert found["sparsebench"]["version"]
    assert found["layers"]["backend"] in ("native", "reference")


def test_it_does_not_say_whose_machine_it_is():
    text = json.dumps(machine.fingerprint())
    assert str(Path.home()) not in text
    for name in (platform.node(), getpass.getuser()):
        assert f'"{name}"' not in text


def test_the_id_is_of_the_hardware_alone():
    first = dict(machine.fingerprint())
    machine.fingerprint.cache_clear()
    assert machine.fingerprint()["id"] == first["id"]
    assert len(first["id"]) == 12
