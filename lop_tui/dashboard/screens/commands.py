"""The list of all commands, to be found by name."""

from typing import Any

from textual.command import CommandPalette
from textual.worker import Worker


class CommandsScreen(CommandPalette):
    """Textual's palette, whose search does not end the dashboard.

    It looks for commands in the background, and fails there if it is closed before it has begun.
    """

    def run_worker(self, *args: Any, **options: Any) -> Worker[Any]:
        return super().run_worker(*args, **options | {"exit_on_error": False})
