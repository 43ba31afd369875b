"""A table in several formats: text for a terminal, Markdown, CSV, JSON and LaTeX."""

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import orjson
from rich.text import Text

from lop_engine.errors import UserError, instead
from lop_engine.files import writing
from lop_engine.text import plain
from lop_tui.words.console import Console, print_json, say
from lop_tui.words.formats import distinct

FORMATS = ("text", "markdown", "csv", "json", "latex", "tabular")
_BY_SUFFIX = {".txt": "text", ".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}
_LEAST_NAME = 20
"""Least characters of a shortened name; narrower tables are split."""


@dataclass(frozen=True)
class Cell:
    text: str
    is_bold: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a sheet; adjacent columns of one group share a heading above theirs."""

    heading: str
    group: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Sheet:
    """A table with notes."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str]
    """Notes below the table, a line each."""
    records: Sequence[Mapping[str, Any]]
    """Values with all digits, for CSV; all have the same keys."""
    answer: Mapping[str, Any]
    """Values for JSON."""


def check_format(command: str, name: str, output: Path | None, as_json: bool = False) -> str:
    """Return the format: as named, from the suffix of `output`, or text. Raises UserError for an unknown one."""
    if as_json and name not in ("", "json"):
        raise UserError(f"{command}: --json or --format {name}? Choose one")
    if name and name not in FORMATS:
        raise UserError(f'{command}: --format "{name}"{instead(name, FORMATS)}')
    if not name and not as_json and output and output.suffix.lower() not in _BY_SUFFIX:
        raise UserError(f"{command}: {output}: choose one of {', '.join(_BY_SUFFIX)}, or name a --format")
    return "json" if as_json else name or (_BY_SUFFIX[output.suffix.lower()] if output else "text")


def put_out(sheet: Sheet, form: str, output: Path | None) -> None:
    """Print the sheet, or write it to `output` and report that. Raises UserError and OSError."""
    if output:
        with writing(output) as file:
            file.write(_as_bytes(sheet, form))
        console = Console()
        if form in ("csv", "tabular"):  # these formats have no notes
            for note in sheet.notes:
                say(console, note)
        say(console, f"table: {output}")
    elif form == "json":
        print_json(sheet.answer)
    elif form == "text":
        _print_text(sheet, Console(pipe_width=80))
    else:
        say(Console(), _as_bytes(sheet, form).decode().rstrip("\n"))


def _as_bytes(sheet: Sheet, form: str) -> bytes:
    if form == "json":
        return orjson.dumps(sheet.answer, option=orjson.OPT_INDENT_2) + b"\n"
    if form == "text":
        console = Console(file=io.StringIO(), width=80)
        with console.capture() as captured:
            _print_text(sheet, console)
        return captured.get().encode()
    makers = {"markdown": as_markdown, "csv": as_csv, "latex": as_latex, "tabular": as_tabular}
    return makers[form](sheet).encode()


def _print_text(sheet: Sheet, console: Console) -> None:
    """Print one table if it fits, else several, each with the first column. ``*`` marks bold cells."""
    say(console, "\n".join(wrap(console.plain(sheet.caption), console.width)))
    cells = _shrunk(sheet, console.width)
    for places in _parts(sheet.columns, cells, console.width):
        for line in _lines([sheet.columns[place] for place in places], [[row[p] for p in places] for row in cells]):
            console.print(line, no_wrap=True, overflow="ignore", crop=False)
        say(console, "")
    for note in sheet.notes:
        console.print(console.plain(note))


def _shrunk(sheet: Sheet, width: int) -> list[list[Text]]:
    """Return the cells, with long words shortened if a table with one group of columns is too wide."""
    words = [place for place, column in enumerate(sheet.columns) if not column.is_number]
    names = {place: {row[place].text: row[place].text for row in sheet.rows} for place in words}
    is_one = len({column.group for column in sheet.columns[1:]}) == 1
    most = {place: max(map(len, names[place].values()), default=0) for place in words}
    while True:
        cells = [
            [Text(names[place][cell.text]) if place in names else _marked(cell) for place, cell in enumerate(row)]
            for row in sheet.rows
        ]
        longest = max(words, key=lambda place: most[place])
        is_wide = not _fits(range(len(sheet.columns)), sheet.columns, cells, width)
        if most[longest] <= (_LEAST_NAME if is_one else width // 2) or not is_wide:
            return cells
        most[longest] -= 1
        names[longest] = distinct(names[longest], most[longest])


def _marked(cell: Cell) -> Text:
    return Text(f"{cell.text}*", "bold") if cell.is_bold else Text(cell.text)


def _parts(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[list[int]]:
    """Return the columns of each printed table: as many as fit, without splitting a group that fits into one."""
    parts: list[list[int]] = [[0]]
    for _, members in groupby(range(1, len(columns)), key=lambda place: columns[place].group):
        places = list(members)
        if len(parts[-1]) > 1 and not _fits([*parts[-1], *places], columns, cells, width):
            parts.append([0])
        for place in places:
            if len(parts[-1]) > 1 and not _fits([*parts[-1], place], columns, cells, width):
                parts.append([0])
            parts[-1].append(place)
    return parts


def _fits(places: Sequence[int], columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> bool:
    shown = [columns[place] for place in places]
    return max(line.cell_len for line in _lines(shown, [[row[place] for place in places] for row in cells])) <= width


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[Text]]) -> list[Text]:
    """Return the lines of one table: groups if there are any, headings, a rule, rows."""
    rows = [[Text(column.heading) for column in columns], *cells]
    widths = [max(row[place].cell_len for row in rows) for place in range(len(columns))]
    groups: list[tuple[str, int]] = []
    for group, members in groupby(range(len(columns)), key=lambda place: columns[place].group):
        places = list(members)
        room = sum(widths[place] for place in places) + 2 * (len(places) - 1)
        widths[places[-1]] += max(0, len(group) - room)
        groups.append((group, max(room, len(group))))
    lines = [_joined(row, widths, columns) for row in rows]
    lines.insert(1, Text("-" * lines[0].cell_len))
    if any(group for group, _ in groups):
        lines.insert(0, Text("  ".join(group.center(room) for group, room in groups).rstrip()))
    return lines


def _joined(row: Sequence[Text], widths: Sequence[int], columns: Sequence[Column]) -> Text:
    line = Text()
    for cell, width, column in zip(row, widths, columns, strict=True):
        space = Text(" " * (width - cell.cell_len))
        line.append_text(space + cell if column.is_number else cell + space).append("  ")
    line.right_crop(2)
    return line


def as_markdown(sheet: Sheet) -> str:
    headings = [f"{column.group} {column.heading}".strip() for column in sheet.columns]
    rules = ["---:" if column.is_number else "---" for column in sheet.columns]
    rows = [[f"**{cell.text}**" if cell.is_bold else cell.text for cell in row] for row in sheet.rows]
    lines = ["| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in (headings, rules, *rows)]
    return "\n".join([f"**{sheet.caption}**", "", *lines, "", *(f"- {note}" for note in sheet.notes)]) + "\n"


def as_csv(sheet: Sheet) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(sheet.records[0]) if sheet.records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(sheet.records)
    return file.getvalue()


def as_latex(sheet: Sheet) -> str:
    """Return a complete LaTeX document; its table may be copied, or written alone as ``tabular``."""
    notes = [f"\\par\\smallskip\\footnotesize {_escaped(note)}" for note in sheet.notes]
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage{booktabs}",
            r"\usepackage[landscape,margin=1cm]{geometry}",
            r"\begin{document}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(sheet.caption)}}}",
            as_tabular(sheet).rstrip("\n"),
            *notes,
            r"\end{table}",
            r"\end{document}",
            "",
        ]
    )


def as_tabular(sheet: Sheet) -> str:
    """Return only the ``tabular``, for ``\\input``; it needs the package booktabs."""
    form = "".join("r" if column.is_number else "l" for column in sheet.columns)
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", *_latex_groups(sheet.columns)]
    lines += [_latex_row(_escaped(column.heading) for column in sheet.columns), r"\midrule"]
    for row in sheet.rows:
        cells = ((_escaped(cell.text), cell.is_bold) for cell in row)
        lines.append(_latex_row(rf"\textbf{{\boldmath {text}}}" if is_bold else text for text, is_bold in cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_groups(columns: Sequence[Column]) -> list[str]:
    """Return a row of headings over several columns, with a rule below each; none if no column has one."""
    spans: list[list[int]] = []
    for place, column in enumerate(columns):
        if spans and columns[place - 1].group == column.group:
            spans[-1][1] = place
        else:
            spans.append([place, place])
    if not any(column.group for column in columns):
        return []
    cells = [rf"\multicolumn{{{last - first + 1}}}{{c}}{{{_escaped(columns[first].group)}}}" for first, last in spans]
    rules = [rf"\cmidrule(lr){{{first + 1}-{last + 1}}}" for first, last in spans if columns[first].group]
    return [_latex_row(cells), " ".join(rules)]


def _latex_row(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "…": r"\ldots{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _escaped(text: str) -> str:
    """Escape `text` for LaTeX: special characters, and letters beyond Latin-1 by their nearest, or ``?``."""
    return "".join(_LATEX.get(one) or _in_latin_1(one) for one in plain(text))


def _in_latin_1(character: str) -> str:
    if character.isascii() or (character.isalpha() and ord(character) < 256):
        return character
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
