"""The documentation site builds strictly: every link, every name, and nothing from the network."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build all pages; tables of figures stay as they are, which test_readme_tables.py looks at."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.extra["figures"] = False
        config.plugins.on_startup(command="build", dirty=False)
        build(config)  # raises where a page, a link, an anchor or a name is missing
    return folder


def test_there_is_a_page_for_each_source(site):
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    pages = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    assert sources <= pages
    assert {Path("changelog.md"), Path("design/kernels-cpu.md")} <= pages


def test_pages_that_are_made_from_code_say_what_it_says(site):
    commands = (site / "reference" / "commands.html").read_text("utf-8")
    assert "--dry-run" in commands
    assert "--across-machines" in commands
    formats = (site / "reference" / "formats.html").read_text("utf-8")
    assert "timeout_s" in formats
    assert "hidden_layers" in formats
    assert (site / "reference" / "schemas" / "record.json").is_file()
    layers = (site / "reference" / "layers.html").read_text("utf-8")
    assert "Input (*, in_features)" in layers


def test_readers_fetch_nothing_from_elsewhere(site):
    fetched = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(https?:)?//[^\"]+\"")
    for page in site.rglob("*.html"):
        found = [tag[0] for tag in fetched.finditer(page.read_text("utf-8"))]
        assert not [tag for tag in found if 'rel="canonical"' not in tag], page


def test_pictures_are_there(site):
    for page in site.rglob("*.html"):
        for picture in re.findall(r'<img[^>]* src="(?!data:)([^"]+)"', page.read_text("utf-8")):
            assert (page.parent / picture).is_file(), f"{page}: {picture}"
