"""The keys that a view offers, at its foot."""

from typing import Any

from textual.screen import Screen
from textual.widgets import Footer


class KeyLine(Footer):
    """Textual's footer, made anew only for other keys, and without a memory for those that are gone."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[tuple[object, ...]] | None = None

    def bindings_changed(self, screen: Screen[Any]) -> None:
        if self._shown is None or self._shown != _shown_by(screen):
            super().bindings_changed(screen)

    async def recompose(self) -> None:
        if not self.is_attached:
            return
        self._shown = _shown_by(self.screen)
        await super().recompose()
        # Every key watches this attribute; Textual forgets those that are gone only when it is set (its issue 6666).
        self.mutate_reactive(Footer.compact)


def _shown_by(screen: Screen[Any]) -> list[tuple[object, ...]]:
    keys = screen.active_bindings.values()
    return [(key.binding, key.enabled, key.tooltip) for key in keys if key.binding.show]
