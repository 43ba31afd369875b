"""The colour of each method, the same in the dashboard and in every figure; safe for the colour-blind (Okabe & Ito)."""

from collections.abc import Iterable

from lop_engine.analysis import Group
from lop_engine.experiment import lookup

#: Yellow is last: it is hard to see on paper and on a light screen.
OTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#999999", "#F0E442")


def assign_colours(methods: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return a colour for each label, given (label, method) pairs.

    The first setting of a method gets the method's colour, if no other method has it; the others get the free
    ones, in order.
    """
    pairs, colours = list(methods), dict[str, str]()
    for label, method in pairs:
        own_colour = lookup.method(method).colour
        if own_colour and own_colour not in colours.values():
            colours[label] = own_colour
    free = [colour for colour in OTHER_COLOURS if colour not in colours.values()]
    for label, _ in pairs:
        if label not in colours:
            colours[label] = free.pop(0) if free else OTHER_COLOURS[len(colours) % len(OTHER_COLOURS)]
    return {label: colours[label] for label, _ in pairs}


def colours_of(groups: Iterable[Group]) -> dict[str, str]:
    """Return a colour for each group's label."""
    return assign_colours((group.label, group.method) for group in groups)


def ink(colour: str) -> str:
    """Return `colour`, darkened until text in it is readable on white paper."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    while _luminance(red, green, blue) > _READABLE:
        red, green, blue = (int(0.95 * channel) for channel in (red, green, blue))
    return f"#{red:02x}{green:02x}{blue:02x}"


def on_screen(colour: str) -> str:
    """Return `colour`, lightened until it is visible on a dark screen."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    while _luminance(red, green, blue) < _VISIBLE:
        red, green, blue = (channel + (255 - channel) // 12 + 1 for channel in (red, green, blue))
    return f"#{red:02X}{green:02X}{blue:02X}"


def tint(colour: str, strength: float) -> str:
    """Return a shade from pale to dark: `colour` itself at strength 2/3, whiter below, darker above (0 .. 1)."""
    towards, share = (255, 1 - 1.5 * strength) if strength <= 2 / 3 else (0, 1.5 * (strength - 2 / 3))
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(channel + share * (towards - channel)):02x}" for channel in channels)


#: Relative luminance with a contrast of 4.5 to 1 on white.
_READABLE = 0.183
#: Relative luminance with a contrast of 2.5 to 1 on the dark theme's background.
_VISIBLE = 0.09


def _luminance(*channels: int) -> float:
    """Return the relative luminance of an sRGB colour, 0 .. 1 (WCAG)."""
    linear = [
        value / 12.92 if (value := channel / 255) <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for channel in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
