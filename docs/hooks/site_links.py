"""Links between pages: as the repository has them, and as the site does."""

from __future__ import annotations

import os
import posixpath
import re

import site_listings

# Pages of the site that are kept where those who work on the code look for them.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "guides/examples/index.md",
    "experiments/notebooks/README.md": "guides/notebooks/index.md",
    "layers/README.md": "design/library.md",
    "layers/sparselayers/csrc/README.md": "design/kernels-cpu.md",
    "layers/sparselayers/backends/triton_kernels/README.md": "design/kernels-gpu.md",
}
PROGRAMS = site_listings.pages()
_PAGES = {page: source for source, page in (ELSEWHERE | PROGRAMS).items()}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$|^~~~.*?^~~~$)", re.DOTALL | re.MULTILINE)


def source_of(page: str) -> str:
    """Return where in the repository the page of the site is kept."""
    return _PAGES.get(page, f"docs/{page}")


def turned(markdown: str, source: str, page: str, repository: str | None) -> str:
    """Return the text of `source` with its links as they lead from `page` on the site.

    What the site does not have is named, and linked where there is a `repository` on the web.
    """

    def turn(link: re.Match[str]) -> str:
        sign, text, target = link.groups()
        path, hash_, part = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return link[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if there == "README.md":
            on_site = "index.md"
        elif there.startswith("docs/"):
            on_site = there.removeprefix("docs/")
        elif there.startswith("plots/"):
            on_site = there
        else:
            on_site = (ELSEWHERE | PROGRAMS).get(there, "")
        if on_site:
            way = os.path.relpath(on_site, posixpath.dirname(page) or ".").replace(os.sep, "/")
            return f"{sign}[{text}]({way}{hash_}{part})"
        if repository:
            return f"{sign}[{text}]({repository.rstrip('/')}/blob/main/{there}{hash_}{part})"
        bare = text.strip("`")
        return text if bare == there else f"{text} (`{there}`)"

    parts = _CODE.split(markdown)
    return "".join(p if _CODE.fullmatch(p) else _LINK.sub(turn, p) for p in parts)
