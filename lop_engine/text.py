"""Text for people: made safe to print, numbers with their nouns and units."""

import re

_SPACES = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"

#: Colours, cursor movements, titles: CSI sequences, OSC and other strings, and two-character escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def plain(text: str, escaped: bool = False) -> str:
    """Return `text` as one line that is safe to print on a terminal.

    Args:
        escaped: write control characters as ``\\x1b``, for names that must be told apart; by default escape sequences
            and control characters are left out.
    """
    if text.isprintable():
        return text
    if escaped:
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    text = _ESCAPES.sub("", text).expandtabs()
    return "".join(one for one in text.encode("utf-8", "replace").decode() if one.isprintable() or one in _SPACES)


def plural(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def byte_size(num_bytes: float) -> str:
    """``512 bytes``, ``24 KiB``, ``3.4 MiB``, ``140 GiB``: at most three digits."""
    if num_bytes < 999.5:
        return plural(round(num_bytes), "byte")
    units = ["KiB", "MiB", "GiB", "TiB"]
    number, unit = num_bytes / 1024, units.pop(0)
    while number >= 999.5 and units:
        number, unit = number / 1024, units.pop(0)
    return f"{number:.{0 if number >= 9.95 else 1}f} {unit}"
