"""Text, and the sources of the standard library as text."""

import sysconfig
from pathlib import Path

import pytest
import torch

from sparsebench.training import datasets
from sparsebench.training.datasets import python_stdlib, text


def written(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


MODULES = {f"module{number}.py": f"x = {number}\n".encode() for number in range(30)}


def test_characters_are_numbered_by_the_alphabet_and_all_others_are_one():
    said = "a = 'é'\t# \x7f\r\n😀\ud800"
    expected = [
        text.ALPHABET.index(character) if character in text.ALPHABET else text.OTHER
        for character in said
    ]
    assert text.encode(said).tolist() == expected
    assert text.encode(said).dtype == torch.uint8
    assert text.SIZE == 98
    assert text.encode("").tolist() == []


def test_files_are_split_and_together_they_are_all_there_is(tmp_path):
    found = python_stdlib.load(written(tmp_path, MODULES))
    assert sum(found.sizes) == sum(map(len, MODULES.values())) + 28  # a line end between files

    def lines(numbers):
        said = "".join(text.ALPHABET[number] for number in numbers)
        return [line for line in said.split("\n") if line]

    train, test = lines(found.train), lines(found.test)
    assert len(test) == 1
    assert sorted(train + test) == sorted(f"x = {number}" for number in range(30))


def test_the_name_has_a_digest_of_paths_and_contents(tmp_path):
    def name(folder, files):
        return python_stdlib.load(written(tmp_path / folder, files)).name

    first = name("one", MODULES)
    assert first.startswith("python-stdlib-")
    assert name("again", dict(reversed(MODULES.items()))) == first
    assert name("changed", MODULES | {"module3.py": b"x = 3 \n"}) != first
    assert name("moved", {f"a/{path}": content for path, content in MODULES.items()}) != first
    ends = {path: content.replace(b"\n", b"\r\n") for path, content in MODULES.items()}
    assert name("windows", ends) == first


def test_what_is_not_everywhere_is_left_out(tmp_path):
    first = python_stdlib.load(written(tmp_path, MODULES))
    more = (
        "test/a.py", "json/tests/a.py", "site-packages/b.py", "config-3.11-x86/c.py", "a.txt",
        "_sysconfigdata__linux.py", "__pycache__/d.py",
    )  # fmt: skip
    again = python_stdlib.load(written(tmp_path, dict.fromkeys(more, b"y\n")))
    assert again.name == first.name


def test_text_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(python_stdlib, "LIMIT", 60)
    found = python_stdlib.load(written(tmp_path, MODULES | {"large.py": b"#" * 100}))
    assert 40 < sum(found.sizes) < 75
    assert not (found.train == text.ALPHABET.index("#")).any()


def test_a_python_without_sources_is_told(tmp_path):
    for files in ({}, {"a.py": b"x\n"}, {"zipimport.pyc": b"x"}):
        with pytest.raises(FileNotFoundError, match=f"in {tmp_path}: .*two .py files.*--data-dir"):
            datasets.load("python-stdlib", data_dir=written(tmp_path, files))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    written(tmp_path, MODULES)
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{tmp_path / 'gone.py'} cannot be read: No such file"):
        python_stdlib.load(tmp_path)


def test_the_interpreters_own_sources_are_text():
    folder = Path(sysconfig.get_paths()["stdlib"])
    if not (folder / "argparse.py").exists():
        pytest.skip("this Python has no sources")
    found = datasets.load("Python-stdlib")
    assert 2_000_000 < sum(found.sizes) <= python_stdlib.LIMIT
    assert (found.train == text.OTHER).float().mean() < 0.02
    assert found.test.max() <= text.OTHER
    assert datasets.shape_of("python-stdlib") == ()
