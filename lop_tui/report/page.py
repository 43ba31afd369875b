"""Writes sections of pictures, tables and texts as one self-contained HTML file."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lop_engine import __version__
from lop_engine.text import plain


@dataclass(frozen=True)
class Picture:
    """An SVG that is embedded in the page."""

    svg: bytes
    caption: str

    @property
    def svg_base64(self) -> str:
        return b64encode(self.svg).decode()


@dataclass(frozen=True)
class Table:
    """Rows of text; with `numbers` all columns but the first are right-aligned."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numbers: bool = True


@dataclass(frozen=True)
class Text:
    """A file, a command or an error, verbatim; `folded`: hidden until the reader opens it."""

    heading: str
    content: str
    folded: bool = True


@dataclass(frozen=True)
class Section:
    """A heading and the content below it."""

    name: str
    title: str
    remarks: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    texts: Sequence[Text] = ()


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    what: str
    sections: Sequence[Section]
    colours: Mapping[str, str]
    """Colour of each label in the first column of a table."""


def as_html(page: Page) -> str:
    """Return the page as HTML; the same page gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    html = environment.get_template("page.html").render(
        title=page.title, what=page.what, sections=page.sections, colours=page.colours, version=__version__
    )
    return "\n".join(map(plain, html.split("\n")))
