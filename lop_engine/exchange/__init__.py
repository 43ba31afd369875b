"""Import and export: tables and event files, and the reference's pickles."""

from lop_engine.exchange.export import FORMATS, Exported, export_runs
from lop_engine.exchange.importing import Imported, ResultFile, find_results, import_results

__all__ = ["FORMATS", "Exported", "Imported", "ResultFile", "export_runs", "find_results", "import_results"]
