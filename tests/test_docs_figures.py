"""What plots/ has is what pages show, and is drawn from the committed records."""

from tests.docs_figures import PLOTS, REFERENCE, committed, draw, shown


def test_every_picture_is_on_a_page_and_has_records():
    names = shown()
    assert len(names) > 10
    assert committed() == names
    assert all((REFERENCE / name).parent.is_dir() for name in names)
    assert {path.suffix for path in PLOTS.rglob("*") if path.is_file()} == {".png"}


def test_a_picture_is_drawn_from_its_records(tmp_path):
    wanted = {"scale/scale-memory", "toy/toy", "scaling/threads-forward_backward", "toy/none"}
    assert draw(wanted, tmp_path) == {"toy/none"}
    drawn = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert drawn == {f"{name}.png" for name in wanted - {"toy/none"}}
