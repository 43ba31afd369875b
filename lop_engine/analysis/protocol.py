"""Whether the seeds of one name are one experiment: a mean over what differs would mean nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from lop_engine.analysis.groups import Group
from lop_engine.errors import UserError
from lop_engine.experiment.spec import BOOKKEEPING_KEYS, EXTENT_KEYS
from lop_engine.experiment.stored import canonical
from lop_engine.runs.code_versions import mixed_code

ABSENT = object()
"""In place of the value of a key that a spec does not have."""


def refuse_mixed(groups: Iterable[Group]) -> None:
    """Refuse groups whose seeds differ in more than the seed: in a key, or in the code of their own components.

    Keys that never change a run's numbers may differ, and so may how long it is and what is measured of it. A run
    whose spec cannot be read is passed over.

    Raises:
        UserError: naming the two runs, and the first key that differs with both values; or the seeds and files.
    """
    for group in groups:
        runs = [run for run in group.runs if run.spec]
        for run in runs[1:]:
            for key, (ours, theirs) in differences(runs[0].spec, run.spec).items():
                raise UserError(
                    f"{run.dir.name} and {runs[0].dir.name} are no seeds of one experiment: {key} is {_said(theirs)} "
                    f'in the first and {_said(ours)} in the second; leave one out (--where "-seed:{run.seed}")'
                )
        for mixed in mixed_code(runs):
            raise UserError(f"{mixed.setting}: {mixed.text}")


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By key, the two values of each key in which two specs differ, as run.json holds them.

    Left out are keys that change no number, and those that say how long a run is or what is measured. A value that a
    spec lacks is `ABSENT`.
    """
    ours, theirs = canonical(ours), canonical(theirs)
    keys = [key for key in {**ours, **theirs} if key not in BOOKKEEPING_KEYS | EXTENT_KEYS]
    pairs = {key: (_plain(ours.get(key, ABSENT)), _plain(theirs.get(key, ABSENT))) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _said(value: Any) -> str:
    return "not given" if value is ABSENT else repr(value)
