"""Where components come from: papers, as BibTeX and as a short citation."""

import re
from functools import cache
from importlib.resources import files

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r"^\s*(\w+)\s*=\s*(.*?),?\s*$", re.MULTILINE)


def bibtex(source: str) -> str:
    """The BibTeX entry of a component's `source`, a key of sources.bib or an entry itself; "" if there is none."""
    source = source.strip()
    return source if source.startswith("@") else _entries().get(source, "")


def citation(source: str) -> str:
    """``Dohare et al. 2024``: who wrote it and when; `source` itself if there is no entry of it."""
    values = _values(bibtex(source))
    if not values:
        return source
    authors = [one.partition(",")[0].strip() for one in re.split(r"\s+and\s+", values.get("author", "")) if one.strip()]
    names = " & ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
    return " ".join(filter(None, (names, values.get("year", ""))))


def reference(source: str) -> str:
    """``Dohare et al. 2024. Loss of plasticity in deep continual learning. Nature``"""
    values = _values(bibtex(source))
    place = values.get("journal") or values.get("booktitle") or values.get("publisher") or ""
    return ". ".join(filter(None, (citation(source), values.get("title", ""), place)))


@cache
def _entries() -> dict[str, str]:
    text = (files("lop_engine.experiment") / "sources.bib").read_text("utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


def _values(entry: str) -> dict[str, str]:
    """The fields of an entry in the form that sources.bib has: one a line, in braces or quotes."""
    found = {key.lower(): value.strip('{}"') for key, value in _VALUE.findall(entry)}
    return {key: re.sub(r"[{}\\]", "", value) for key, value in found.items()}
