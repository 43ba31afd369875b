"""The last filter on a line of the screen: removes what would act on the terminal."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter


class PlainText(LineFilter):
    """Removes control characters in names, errors and logs, and keeps each line's width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment if segment.control else Segment(_plain(segment.text), segment.style, None) for segment in segments
        ]


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" * cell_len(one) for one in text)
