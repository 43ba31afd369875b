"""If on PYTHONPATH, lets workers record without training and start without torch."""

import sys
from types import ModuleType

from recording import train_runs


def _stand_in(name: str, **content: object) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


class _OutOfMemoryError(RuntimeError):
    pass


_stand_in("torch", device=str, set_num_threads=lambda number: None, OutOfMemoryError=_OutOfMemoryError)
_stand_in("lop_engine.device", prepare_device=lambda *of, **more: None)
_stand_in("lop_engine.worker.stack", train_runs=train_runs)
