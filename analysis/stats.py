"""Statistics: tables of a study -> small tables. Nothing here draws, and nothing averages over survivors of
ASHA.

Scores are fractions in [0, 1] unless the plan's metric says otherwise; a larger score is better.
"""

from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.tables import StudyTables

BOOTSTRAP_SEED: Final = 0  # every bootstrap begins from it, so that the same tables give the same numbers


def full_length(tables: StudyTables) -> pd.DataFrame:
    """Return the trials whose score was measured at full length: the only ones that compare as equals."""
    trials = tables.trials
    longest = trials["epochs_trained"] >= tables.plan["max_epochs"]
    known: pd.DataFrame = trials[longest & (trials["state"] == "finished") & trials["score"].notna()]
    return known


def winners(tables: StudyTables) -> pd.DataFrame:
    """Return a row per space that has a winner: `space`, `trial`, `score`, `epochs_trained`, `retrained`.

    `score` and `epochs_trained` are those of the search; where no trial reached full length, the winner is the one
    that came furthest, and its score does not compare with others.
    Chosen for final runs: the one whose final runs have the highest mean validation score, or, before they
    are done, the one that the search ranks first. Nothing chosen yet: the highest last score at full length.
    Never by the test split.
    """
    found = [_winner(tables, space) for space in tables.plan["spaces"]]
    columns = ["space", "trial", "score", "epochs_trained", "retrained"]
    return pd.DataFrame([row for row in found if row is not None], columns=columns)


def _winner(tables: StudyTables, space: str) -> dict[str, Any] | None:
    chosen = tables.chosen[tables.chosen["space"] == space]
    candidates = chosen if len(chosen) else full_length(tables).query("space == @space")
    if not len(candidates):
        return None
    done = tables.final[(tables.final["state"] == "finished") & tables.final["trial"].isin(chosen["trial"])]
    means = done.groupby("trial", sort=False)["val_score"].mean()
    first = chosen if len(chosen) else candidates.sort_values("score", ascending=False, kind="stable")
    trial = str(means.idxmax()) if means.notna().any() else str(first["trial"].iloc[0])
    chose = candidates[candidates["trial"] == trial].iloc[0]
    known = {"score": float(chose["score"]), "epochs_trained": int(chose["epochs_trained"])}
    return {"space": space, "trial": trial, **known, "retrained": bool(len(done))}


def lost_finals(tables: StudyTables, space: str) -> tuple[int, int, str]:
    """Return how many final runs of the space diverged or failed, how many there are, and the first one's reason."""
    final = tables.final[tables.final["space"] == space]
    lost = final[final["state"].isin(["diverged", "failed"])]
    reasons = lost["error"].dropna()
    return len(lost), len(final), str(reasons.iloc[0]).partition("\n")[0] if len(reasons) else "no reason logged"


def spending(tables: StudyTables) -> pd.DataFrame:
    """Return a row per space: trials by state, epochs and seconds spent, and epochs saved by stopping.

    `epochs_saved` counts what the stopped trials did not train; a failed or an unfinished trial saves
    nothing.
    """
    return pd.DataFrame([_spent(tables, space) for space in tables.plan["spaces"]])


def _spent(tables: StudyTables, space: str) -> dict[str, Any]:
    trials = tables.trials[tables.trials["space"] == space]
    states = trials["state"].value_counts()
    stopped = trials[trials["state"] == "stopped"]
    final = tables.final[tables.final["space"] == space]
    return {
        "space": space,
        "trials": len(trials),
        **{state: int(states.get(state, 0)) for state in ("finished", "stopped", "diverged", "failed", "interrupted")},
        "running": int(states.get("running", 0)),
        "epochs": int(trials["epochs_trained"].sum()),
        "epochs_planned": len(trials) * tables.plan["max_epochs"],
        "epochs_saved": int((tables.plan["max_epochs"] - stopped["epochs_trained"]).sum()),
        "seconds": float(trials["train_seconds"].sum()),
        "final_runs": len(final),
        "final_epochs": int(final["epochs_trained"].sum()),
        "final_seconds": float(final["train_seconds"].sum()),
    }


def budget(tables: StudyTables) -> dict[str, float]:
    """Return what the search of each space could spend at most, by unit, as last set: the same for every space.

    `trials`, `epochs`, `GPU time` (seconds of a GPU) and `time` (seconds for all spaces together, equal parts); units
    without a limit are left out.
    """
    if tables.sessions.empty:
        return {"trials": float(tables.plan["trials"])}
    names = {"trials": "trials", "epochs": "epoch_budget", "GPU time": "gpu_budget", "time": "time_budget"}
    last = tables.sessions.iloc[-1]
    return {unit: float(last[name]) for unit, name in names.items() if pd.notna(last[name])}


def binding(tables: StudyTables) -> dict[str, str]:
    """Return by space which budget ended its search, a unit of `budget`; a space that none has ended is left out."""
    limits, found = budget(tables), {}
    reason = "" if tables.sessions.empty else str(tables.sessions["reason"].iloc[-1])
    closed = {"epoch budget": "epochs", "GPU budget": "GPU time", "time budget": "time"}.get(reason)
    for row in spending(tables).to_dict("records"):
        if row["epochs"] >= limits.get("epochs", np.inf):
            found[row["space"]] = "epochs"
        elif row["trials"] - row["running"] - row["interrupted"] >= limits["trials"]:
            found[row["space"]] = "trials"
        elif closed is not None:
            found[row["space"]] = closed
    return found


def at_risk(tables: StudyTables) -> pd.DataFrame:
    """Return `space`, `epoch`, `at_risk`: how many trials of the space have a row for that epoch, from 1 to
    the last.
    """
    spaces = tables.epochs["trial"].map(tables.trials.set_index("trial")["space"])
    counts = tables.epochs.assign(space=spaces).groupby(["space", "epoch"]).size()
    every = pd.MultiIndex.from_product(
        [tables.plan["spaces"], range(1, tables.plan["max_epochs"] + 1)], names=["space", "epoch"]
    )
    return counts.reindex(every, fill_value=0).rename("at_risk").reset_index()


def incumbent(tables: StudyTables) -> pd.DataFrame:
    """Return the best score so far among trials at full length: `space`, `trial`, `epochs_spent`, `score`,
    `best`.

    A row per such trial, in the order in which they finished; `epochs_spent` counts every epoch logged for
    the space until then, those of stopped and failed trials too. The last row of a space repeats the best at
    the whole budget.
    """
    parts = [_incumbent(tables, space) for space in tables.plan["spaces"]]
    return pd.concat(parts, ignore_index=True)


def _incumbent(tables: StudyTables, space: str) -> pd.DataFrame:
    trials = tables.trials[tables.trials["space"] == space]
    epochs = tables.epochs[tables.epochs["trial"].isin(trials["trial"])].reset_index(drop=True)
    spent = pd.Series(np.arange(1, len(epochs) + 1)).groupby(epochs["trial"]).max()
    full = full_length(tables).query("space == @space")[["space", "trial", "score"]]
    full = full.assign(epochs_spent=full["trial"].map(spent)).sort_values("epochs_spent")
    full["best"] = full["score"].cummax()
    if len(full):
        end = {"space": space, "epochs_spent": len(epochs), "best": full["best"].iloc[-1]}
        full = pd.concat([full, pd.DataFrame([end])], ignore_index=True)
    return full[["space", "trial", "epochs_spent", "score", "best"]].astype({"epochs_spent": "int64"})


def winning_finals(tables: StudyTables) -> pd.DataFrame:
    """Return the rows of `.final` that belong to the winner of their space, space by space in the order of the
    plan.
    """
    mine = tables.final[tables.final["trial"].isin(winners(tables)["trial"])]
    place = mine["space"].map({space: place for place, space in enumerate(tables.plan["spaces"])})
    return mine.loc[place.sort_values(kind="stable").index]


def test_images(tables: StudyTables) -> int:
    """Return the number of test images whose share a score is; 0 where the metric is no share of images."""
    return _images("test", tables)


def spread(tables: StudyTables) -> str:
    """Say over what intervals of test scores are taken: over images too where the metric is a share of them."""
    images = test_images(tables)
    return f"seeds and the {images:,} test images" if images else "seeds alone, for this test split"


def validation_images(tables: StudyTables) -> int:
    """Return the number of validation images whose share a score is; 0 where the metric is no share of images."""
    return _images("validation", tables)


def _images(split: str, tables: StudyTables) -> int:
    metric = tables.plan["metric"]
    shares = metric["name"] == "accuracy" and metric["unit"] == "fraction"
    return int(tables.plan["dataset"]["splits"][split]["images"]) if shares else 0


def generator() -> np.random.Generator:
    """Return the random generator that a bootstrap starts with, always in the same state."""
    return np.random.default_rng(BOOTSTRAP_SEED)
