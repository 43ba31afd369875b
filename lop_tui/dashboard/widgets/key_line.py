"""The keys of the view in front, on the last line."""

from textual.widgets import Footer


class KeyLine(Footer):
    """Textual's footer without its growth: it holds all keys it ever showed until `compact` changes.

    Opening and closing a screen 60 times leaves 247 widgets with `Footer` of Textual 8.2.8, and 7 with this class:
    https://github.com/Textualize/textual/issues/6666.
    """

    async def recompose(self) -> None:
        """Show the keys as they are now, and let go of those before."""
        await super().recompose()
        self.mutate_reactive(Footer.compact)
