"""Which GPUs there are, without torch in this process."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

_PROBE = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps([torch.cuda.mem_get_info(i)[0] for i in range(count)]))
"""


@cache
def gpu_memory_bytes() -> list[int]:
    """Free memory of each CUDA GPU, in bytes; empty where there is none.

    torch is asked in a child process, and only where a driver is present at all: that takes seconds.
    """
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return []
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True
        )
        return [int(free) for free in json.loads(answer.stdout)]
    except (subprocess.SubprocessError, OSError, ValueError):
        return []
