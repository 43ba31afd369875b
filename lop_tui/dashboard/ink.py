"""Colours for a widget, from its theme, and markers that the terminal can show."""

from textual.color import Color
from textual.widget import Widget

from lop_tui.dashboard.drawing.canvas import Markers
from lop_tui.dashboard.drawing.plots import Ink, Rgb


def ink_of(widget: Widget) -> Ink:
    """Return the colours of the widget's theme and background; none if NO_COLOR is set."""
    app = widget.app
    _, background = widget.background_colors
    foreground = Color.parse(app.theme_variables["foreground"])
    return Ink(_rgb(background), _rgb(background.blend(foreground, 0.55)), not app.no_color, _markers(widget))


def has_colour_samples(widget: Widget) -> bool:
    """Whether a name is shown next to its line's colour; without colours or in ASCII, next to its marker."""
    return not widget.app.no_color and _markers(widget) != "ascii"


def _markers(widget: Widget) -> Markers:
    markers: Markers = getattr(widget.app, "markers", "braille")
    return markers


def _rgb(colour: Color) -> Rgb:
    return colour.r, colour.g, colour.b
