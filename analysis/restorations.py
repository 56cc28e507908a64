"""What the final runs make of the test images where the answers are images -> small tables: PSNR and SSIM, before and
after, and examples.

`final/test_images.npz` has both measures of the images as they are, a `predictions.npz` those of what a run makes of
them (`study/tasks/restoration.py`).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats import winning_finals
from analysis.tables import StudyTables, is_restoration

EXAMPLES = 6  # images that are shown, from the worst to the best
MEASURES = ("psnr", "ssim")

Arrays = dict[str, npt.NDArray[Any]]


def _untouched(tables: StudyTables) -> Arrays | None:
    return _arrays(tables, "test_images.npz") if is_restoration(tables.plan) else None


def _answers(tables: StudyTables, final: str) -> Arrays | None:
    return _arrays(tables, f"{final}/predictions.npz")


def _arrays(tables: StudyTables, name: str) -> Arrays | None:
    path = tables.run_dir / "final" / name
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return dict(arrays)


def untouched(tables: StudyTables) -> dict[str, float]:
    """Return mean `psnr` and `ssim` of the test images as they are; nothing before the test split was opened."""
    arrays = _untouched(tables)
    return {} if arrays is None else {name: float(arrays[name].mean()) for name in MEASURES}


def similarity(tables: StudyTables) -> pd.Series:
    """Return the mean SSIM on the test split of each final run that has answers, by its name."""
    if not is_restoration(tables.plan):
        return pd.Series(dtype=float)
    found = {str(final): _answers(tables, str(final)) for final in tables.final["final"]}
    return pd.Series({final: float(a["ssim"].mean()) for final, a in found.items() if a is not None}, dtype=float)


def images(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `index`, `before`, `after`, `ssim_before`, `ssim_after`, `seeds`: a row per space and test image.

    PSNR (`before`, `after`) in dB; after: mean over the final runs of the winner.
    """
    columns = ["space", "index", "before", "after", "ssim_before", "ssim_after", "seeds"]
    start, rows = _untouched(tables), []
    if start is None:
        return pd.DataFrame(columns=columns)
    for space, runs in _by_space(tables).items():
        means = {name: np.mean([run[name] for run in runs], axis=0) for name in MEASURES}
        columns_of = {"before": start["psnr"], "after": means["psnr"]}
        columns_of |= {"ssim_before": start["ssim"], "ssim_after": means["ssim"]}
        rows.append(pd.DataFrame({"space": space, "index": np.arange(len(start["psnr"])), **columns_of}))
        rows[-1]["seeds"] = len(runs)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _by_space(tables: StudyTables) -> dict[str, list[Arrays]]:
    found: dict[str, list[Arrays]] = {}
    for row in winning_finals(tables).sort_values("seed", kind="stable").itertuples():
        if (answers := _answers(tables, str(row.final))) is not None:
            found.setdefault(str(row.space), []).append(answers)
    return {space: found[space] for space in tables.plan["spaces"] if space in found}


def examples(tables: StudyTables) -> pd.DataFrame:
    """Return stored test images with what the winner's first final run makes of them, evenly from worst to best.

    `space`, `index` in the test split, `before`, `after` (PSNR in dB), `ssim`, `image` (3, H, W, C) uint8: as it is,
    as restored, as it shall be.
    """
    columns = ["space", "index", "before", "after", "ssim", "image"]
    start = _untouched(tables)
    if start is None:
        return pd.DataFrame(columns=columns)
    rows = []
    for space, runs in _by_space(tables).items():
        index, first = start["index"], runs[0]
        order = np.argsort(first["psnr"][index], kind="stable")
        for k in order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))]:
            at = int(index[k])
            shown = np.stack([start["image"][k], first["restored"][k], start["target"][k]])
            numbers = [float(values[at]) for values in (start["psnr"], first["psnr"], first["ssim"])]
            rows.append([space, at, *numbers, shown])
    return pd.DataFrame(rows, columns=columns)
