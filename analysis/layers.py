"""The layers of the winners, as their final runs wrote them."""

import json

import pandas as pd

from analysis.stats import winning_finals
from analysis.tables import StudyTables

COLUMNS = ("layer", "name", "depth", "output", "parameters", "multiply_adds")


def layers(tables: StudyTables) -> dict[str, pd.DataFrame]:
    """Return a row per layer of each space's winner: `COLUMNS`, those of layers.json; `depth` counts the layers that
    hold it, `output` is its shape for one image, counts are missing where it has none or holds others that do.

    Spaces whose final runs have no layers.json, or an empty one, are left out.
    """
    found: dict[str, pd.DataFrame] = {}
    for row in winning_finals(tables).itertuples():
        path = tables.run_dir / "final" / str(row.final) / "layers.json"
        if str(row.space) not in found and path.is_file():
            content = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")), columns=list(COLUMNS))
            if len(content):
                found[str(row.space)] = content.astype({"parameters": "float64", "multiply_adds": "float64"})
    return found
