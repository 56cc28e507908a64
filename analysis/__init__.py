"""Read a run folder, turn it into tables, figures and a report. Needs neither torch nor Ray nor Optuna."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.tables import StudyTables, read

__all__ = ["StudyTables", "read"]


def __getattr__(name: str) -> object:
    """Import the tables (and with them pandas) only when asked: a worker needs nothing but
    `analysis.events`.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis import tables

    found: object = getattr(tables, name)
    return found
