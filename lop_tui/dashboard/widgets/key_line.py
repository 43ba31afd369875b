"""The keys of the view in front, on the last line."""

from textual.widgets import Footer


class KeyLine(Footer):
    """Textual's footer without its growth: it holds all keys it ever showed until `compact` changes.

    Each view that opens or closes brings other keys, so a dashboard left on would grow by some 15 widgets each time:
    https://github.com/Textualize/textual/issues/6666.
    """

    async def recompose(self) -> None:
        """Show the keys as they are now, and let go of those before."""
        await super().recompose()
        self.mutate_reactive(Footer.compact)
