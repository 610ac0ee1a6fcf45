"""What the tests of the report share. It renders pages and reads them back as a browser would: as HTML, not as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.util import find_spec

# A session of its own runs these, with an environment of its own; there, nothing collected is an error of pytest's.
collect_ignore = [] if find_spec("playwright") else ["browser"]
VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Page(HTMLParser):
    """Every element with its attributes, the text outside <style>, and whether each tag was closed in order."""

    html: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.html)
        self.close()
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def having(self, attribute: str) -> list[str]:
        return [given[attribute] for _, given in self.elements if attribute in given]

    def count(self, tag: str, class_: str = "") -> int:
        return sum(
            (name == tag and class_ in given.get("class", "").split()) or (name == tag and not class_)
            for name, given in self.elements
        )

    def sections(self) -> list[str]:
        return [given["id"] for name, given in self.elements if name == "section"]
