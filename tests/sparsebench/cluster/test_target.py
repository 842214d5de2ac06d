"""What `--on` may say."""

import socket

import pytest

from sparsebench.cluster.target import TLS, Target, exposed, parse
from sparsebench.errors import InputError


@pytest.fixture
def files(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    return {"ca_file": tmp_path / "ca", "cert": tmp_path / "cert", "key": tmp_path / "key"}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("local:2", Target(workers=2)),
        ("tcp://scheduler:8786", Target(address="tcp://scheduler:8786")),
        ("tcp://10.0.0.1:8786/", Target(address="tcp://10.0.0.1:8786")),
        ("tls://[::1]:8786", Target(address="tls://[::1]:8786")),
    ],
)
def test_addresses(text, target):
    assert parse(text) == target
    assert str(target) == text.rstrip("/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scheduler:8786", "no address of a cluster: write tcp://HOST:PORT"),
        ("tcp://scheduler", "no address of a cluster"),
        ("http://scheduler:8786", "no address of a cluster"),
        ("tcp://a b:1", "no address of a cluster"),
        ("tcp://scheduler:99999", "a port is a number from 1 to 65535, got 99999"),
        ("tcp://scheduler:0", "a port is a number from 1 to 65535, got 0"),
        ("local", "no address of a cluster"),
        ("local:0", "from 1 to 64 workers"),
        ("local:65", "from 1 to 64 workers"),
        ("local:-1", "no address of a cluster"),
        ("", "no address of a cluster"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(InputError, match=message) as error:
        parse(text)
    assert f"--on {text}: " in str(error.value)


def test_tls_takes_three_files_that_exist(files, tmp_path):
    expected = TLS(files["ca_file"], files["cert"], files["key"])
    assert parse("tls://scheduler:8786", **files).tls == expected
    assert parse("local:1", **files).tls == expected
    with pytest.raises(InputError, match="begins with tls://"):
        parse("tcp://scheduler:8786", **files)
    with pytest.raises(InputError, match="--tls-cert without --tls-ca-file, --tls-key"):
        parse("local:1", cert=files["cert"])
    with pytest.raises(InputError, match=r"--tls-key .*missing: no such file"):
        parse("local:1", **files | {"key": tmp_path / "missing"})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://192.168.1.4:8786", True),
        ("tcp://[2001:db8::1]:8786", True),
        ("tls://192.168.1.4:8786", False),
        ("tcp://somewhere:8786", True),
        ("tcp://nowhere:8786", False),
    ],
)
def test_who_can_be_reached_by_others_without_tls(address, expected, monkeypatch):
    def known(host, port):
        if host == "nowhere":
            raise OSError("unknown")
        return [(0, 0, 0, "", ("8.8.8.8" if host == "somewhere" else host, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert exposed(address) == expected
