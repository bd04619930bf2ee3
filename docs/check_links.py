"""Look through a built site for links that lead nowhere and for anything fetched from another host.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("link", "href"), ("source", "src"), ("video", "src")}
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)")
NOT_FETCHED = {"canonical", "alternate", "author", "license", "next", "prev", "index", "search"}


class Page(HTMLParser):
    """The links, resources and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        passive = tag == "link" and NOT_FETCHED & set(values.get("rel", "").split())
        for name in ("src", "href"):
            if (tag, name) in FETCHED and name in values and not passive:
                self.resources.append(values[name])


def check(root: Path) -> list[str]:
    """What is wrong with the site in `root`, a line each; empty when all is well."""
    root = root.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))}
    problems = [] if pages else [f"{root} holds no page"]
    for path, page in pages.items():
        name = path.relative_to(root)
        problems += [f"{name}: {why}" for url in page.links if (why := _broken(url, path, root, pages))]
        for url in page.resources:
            why = f"fetches {url}" if _elsewhere(url) else _broken(url, path, root, pages)
            problems += [f"{name}: {why}"] if why else []
    for style in sorted(root.rglob("*.css")):
        found = CSS_URL.findall(style.read_text(encoding="utf-8"))
        problems += [f"{style.relative_to(root)}: fetches {url}" for url in found if _elsewhere(url)]
    return problems


def _elsewhere(url: str) -> bool:
    return url.startswith(("http:", "https:", "//"))


def _broken(url: str, path: Path, root: Path, pages: dict[Path, Page]) -> str:
    """Why a link of the page at `path` leads nowhere, or ""."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(root):
        return f"{url} leads out of the site"
    if not target.is_file():
        return f"{url} is not there"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return f"{url} has no such anchor"
    return ""


if __name__ == "__main__":
    found = check(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/_build/html"))
    sys.stdout.write(("\n".join(found) or "no broken link, nothing from another host") + "\n")
    sys.exit(len(found) > 0)
