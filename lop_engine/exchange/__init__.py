"""Results in other people's forms: tables and event files out, the reference's pickles out and in."""

from lop_engine.exchange.export import FORMATS, Exported, export_runs
from lop_engine.exchange.importing import Imported, ResultFile, find_results, import_results

__all__ = ["FORMATS", "Exported", "Imported", "ResultFile", "export_runs", "find_results", "import_results"]
