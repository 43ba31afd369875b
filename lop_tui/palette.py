"""The colour of each method, the same in the dashboard and in every figure; safe for the colour-blind (Okabe & Ito)."""

from collections.abc import Sequence

METHOD_COLOURS = {
    "bp": "#D55E00",
    "l2": "#E69F00",
    "snp": "#009E73",
    "cbp": "#0072B2",
    "cbp2": "#56B4E9",
    "linear": "#999999",
}
#: Yellow comes last: it can hardly be seen on paper and on a light screen.
OTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#D55E00", "#0072B2", "#999999", "#F0E442")


def assign_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, from the labels alone: a method keeps its own, others take what is free, in order."""
    colours: dict[str, str] = {}
    for label in labels:
        method = label.split(" ")[0]
        wanted = METHOD_COLOURS.get(method)
        if wanted and wanted not in colours.values():
            colours[label] = wanted
    free = [colour for colour in OTHER_COLOURS if colour not in colours.values()]
    for label in labels:
        if label not in colours:
            colours[label] = free.pop(0) if free else OTHER_COLOURS[len(colours) % len(OTHER_COLOURS)]
    return colours
