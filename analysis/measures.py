"""What the test split says of a final run beside its score: balanced accuracy where classes are unbalanced, SSIM where
the answers are images.
"""

from typing import Final

import pandas as pd

from analysis import balance, restorations, wording
from analysis.tables import StudyTables, is_restoration

COLUMNS: Final = {"balanced_accuracy": "balanced accuracy", "test_ssim": "test SSIM"}


def by_final(tables: StudyTables) -> dict[str, pd.Series]:
    """Return a column of `COLUMNS`, by the rows of `.final`, if this study has one; missing where not tested."""
    if is_restoration(tables.plan):
        name, values = "test_ssim", restorations.similarity(tables)
    elif balance.class_sizes(tables) is not None:
        name, values = "balanced_accuracy", balance.balanced_accuracy(tables)
    else:
        return {}
    return {name: tables.final["final"].map(values)}


def texts(name: str, values: pd.Series, tables: StudyTables) -> list[str]:
    """Return a column as it is written."""
    if name == "test_ssim":
        return [wording.MISSING if pd.isna(value) else f"{value:.3f}" for value in values]
    return [wording.score(value, tables.plan) for value in values]


def sentences(tables: StudyTables) -> list[str]:
    """Say what the winners have of it, and what doing nothing has, once they are tested."""
    if not is_restoration(tables.plan):
        return [said] if (said := balance.said(tables)) else []
    start, found = restorations.untouched(tables), restorations.images(tables)
    if not start:
        return []
    before = f"The test images as they are have {wording.score(start['psnr'], tables.plan)}"
    if pd.isna(start["ssim"]):  # images smaller than its window
        return [f"{before}."]
    means = found.groupby("space", sort=False)["ssim_after"].mean()
    after = wording.listed([f"{mean:.3f} as {space} restores them" for space, mean in means.items()])
    return [f"{before} and SSIM {start['ssim']:.3f}; SSIM is {after}."]


def explained(tables: StudyTables) -> str:
    """Say what the column is, where there is one."""
    if is_restoration(tables.plan):
        return (
            "Test loss: mean squared error in units of [0, 1]. SSIM: structural similarity (Wang et al. 2004), mean "
            f"over the test images. {' '.join(sentences(tables))}"
        ).strip()
    return balance.said(tables)
