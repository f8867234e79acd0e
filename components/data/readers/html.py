"""The text of a page without menus, scripts, forms and lists of links."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from components.errors import InputFileError

_SKIPPED = frozenset(
    (
        *("script", "style", "noscript", "template", "svg", "math", "canvas", "iframe", "object", "audio", "video"),
        *("head", "nav", "header", "footer", "aside", "button", "select", "textarea", "dialog", "menu"),
    )
)
_BLOCKS = frozenset(
    (
        *("address", "article", "blockquote", "body", "br", "center", "dd", "details", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li"),
        *("main", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
    )
)
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_MAX_LINK_SHARE = 0.5
"""Of a block's characters. Kohlschütter, Fankhauser and Nejdl, "Boilerplate Detection using Shallow Text Features"
(WSDM 2010), part blocks at link densities of 0.33 and 0.56."""
_MAX_DEPTH = 256
"""How far out an end tag is matched: a million opened elements must not cost a million squared."""
_MIN_MAIN_CHARS = 200
"""Below, what is marked as the main part is taken for a stub, and the whole page is read."""


def main_text(page: str, *, name: str) -> str:
    """Headings, paragraphs, list items and cells, one a line, a blank line between blocks.

    What stands in `main` or `article` counts alone, where there is such an element with enough in it.

    Raises:
        InputFileError: markup that the parser gives up on.
    """
    parser = _Blocks()
    try:
        parser.feed(page)
        parser.close()
    except (AssertionError, ValueError, RecursionError) as err:  # what html.parser raises on marked sections
        raise InputFileError(f"{name} is no HTML that can be read: {err}", "save the page again") from err
    parser.end_block()
    good = [block for block in parser.blocks if block.text and block.link_chars <= _MAX_LINK_SHARE * len(block.text)]
    main = [block for block in good if block.is_main]
    chosen = main if sum(len(block.text) for block in main) >= _MIN_MAIN_CHARS else good
    return "\n\n".join(block.text for block in chosen)


@dataclass
class _Block:
    is_main: bool = False
    is_verbatim: bool = False
    parts: list[str] = field(default_factory=list)
    link_chars: int = 0
    text: str = ""


class _Blocks(HTMLParser):
    """Text by blocks. Elements left open are closed by the end of what they stand in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[_Block] = []
        self.open: list[tuple[str, bool]] = []
        """Elements, and whether what is in them is left out."""
        self.num_skipped = self.num_main = self.num_links = self.num_verbatim = 0
        self.block = _Block()

    def end_block(self) -> None:
        """The running block is whole."""
        text = "".join(self.block.parts)
        self.block.text = text.strip("\n") if self.block.is_verbatim else re.sub(r"\s+", " ", text).strip()
        if self.block.text.strip():
            self.blocks.append(self.block)
        self.block = _Block(self.num_main > 0, self.num_verbatim > 0)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """An element begins."""
        if tag == "br" and self.num_verbatim:
            self.block.parts.append("\n")
        elif tag in _BLOCKS:
            self.end_block()
        if tag == "body":
            self.handle_endtag("head")  # whose own end may be left out
        if tag not in _VOID:
            is_skipped = tag in _SKIPPED and not (
                self.num_main and tag in {"header", "footer"}
            )  # an article's own title
            self.open.append((tag, is_skipped))
            self._count(tag, is_skipped, 1)

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and with it those inside that were left open."""
        if all(tag != opened for opened, _ in self.open[-_MAX_DEPTH:]):
            return
        while self.open:
            last, is_skipped = self.open.pop()
            if last in _BLOCKS:
                self.end_block()
            self._count(last, is_skipped, -1)
            if last == tag:
                break

    def handle_data(self, data: str) -> None:
        """Text."""
        if self.num_skipped:
            return
        self.block.parts.append(data)
        if self.num_links:
            self.block.link_chars += len(data.strip())

    def _count(self, tag: str, is_skipped: bool, by: int) -> None:
        self.num_skipped += by * is_skipped
        self.num_main += by * (tag in {"main", "article"})
        self.num_links += by * (tag == "a")
        self.num_verbatim += by * (tag == "pre")
        if tag in {"main", "article", "pre"}:  # all of them begin and end a block
            self.block.is_main, self.block.is_verbatim = self.num_main > 0, self.num_verbatim > 0
