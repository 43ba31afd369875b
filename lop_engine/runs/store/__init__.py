"""Record files that are valid TinyDB files and grow in constant time.

A file holds one table with one document per line, numbered from 1::

    {"tasks": {
    "1": {"task":0,...},
    "2": {"task":1,...}
    }}

Stock ``TinyDB(path)`` opens and queries it. `TableWriter` appends by overwriting the closing brackets in
place with one small positional write; `TableTail` remembers its byte offset and reads only new lines, also
while a writer is active: a half-written last line is ignored, not an error.
"""

from lop_engine.runs.store.by_task import read_task, tail_task
from lop_engine.runs.store.reader import TableTail, TailStorage, open_readonly, read_some, read_table
from lop_engine.runs.store.repair import Repaired, num_whole_documents, repair_table
from lop_engine.runs.store.writer import TableWriter

__all__ = [
    "Repaired",
    "TableTail",
    "TableWriter",
    "TailStorage",
    "num_whole_documents",
    "open_readonly",
    "read_some",
    "read_table",
    "read_task",
    "repair_table",
    "tail_task",
]
