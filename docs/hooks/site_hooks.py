"""What `mkdocs build` does beside turning Markdown into pages (mkdocs.yml names this file).

Pages that are kept elsewhere, or made from code, join those below docs/; pictures come from plots/;
tables of figures are made anew from the committed records.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_LEFT_OUT = re.compile(
    r"<!-- not on the site -->.*?<!-- end of what is not on the site -->", re.DOTALL
)
_LISTS = {"guides/examples/index.md": "Examples", "guides/notebooks/index.md": "Notebooks"}
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import site_commands  # noqa: E402
import site_formats  # noqa: E402
import site_links  # noqa: E402
import site_listings  # noqa: E402
from mkdocs.structure.files import File  # noqa: E402


def on_config(config):
    """Give programs that have pages, and pages that mkdocs.yml does not name, their places."""
    named = re.findall(r"[\w/-]+\.md", str(config.nav))
    left = sorted({p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")} - {*named})
    for number, section in enumerate(config.nav or ()):
        ((title, pages),) = section.items()
        if isinstance(pages, list):
            own = [page for page in left if page.startswith(f"{title.lower()}/")]
            config.nav[number] = {title: [_with_programs(page) for page in [*pages, *own]]}
    return config


def _with_programs(page):
    if page not in _LISTS:
        return page
    folder = page.removesuffix("index.md")
    return {
        _LISTS[page]: [page, *(p for p in site_links.PROGRAMS.values() if p.startswith(folder))]
    }


def on_files(files, config):
    """Add the pages and pictures that are not below docs/."""
    for source, page in site_links.ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for source, page in site_links.PROGRAMS.items():
        files.append(File.generated(config, page, content=site_listings.text(source)))
    for name, content in site_formats.schemas():
        files.append(File.generated(config, name, content=content))
    for picture in sorted((ROOT / "plots").rglob("*.png")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Bring a page's figures up to date, and turn links to the rest of the repository."""
    if config.extra["figures"] and "<!-- figure" in markdown:
        from tests.readme_sentences import updated  # pandas and torch

        markdown = updated(markdown)
    markdown = _LEFT_OUT.sub("", markdown)
    if "<!-- commands" in markdown:
        markdown = re.sub(
            r"<!-- commands -->.*<!-- end of commands -->",
            lambda _: site_commands.told(),
            markdown,
            flags=re.DOTALL,
        )
    markdown = re.sub(
        r"<!-- format: ([\w-]+) -->", lambda found: site_formats.told(found[1]), markdown
    )
    source = site_links.source_of(page.file.src_uri)
    return site_links.turned(markdown, source, page.file.src_uri, config.repo_url)


def on_post_page(output, page, config):
    """Let wide tables scroll by themselves, so that a page fits a phone; figures stay on a line."""
    output = re.sub(r"(<!-- figures: .*?-->\s*)<table>", r'\1<table data-figures="">', output)
    return re.sub(r"<table( data-figures=\"\")?>(.*?)</table>", _scrolling, output, flags=re.DOTALL)


def _scrolling(table):
    kind = "wide figures" if table[1] else "wide"
    return f'<div class="{kind}"><table>{table[2]}</table></div>'
