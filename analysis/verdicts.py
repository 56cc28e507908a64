"""Which architecture is better: every pair of tested winners, the ranking, and what the search's scores were worth.

Only final runs speak here: the retrained winner of each space, tested once. `docs/statistics.md` names the estimator
of each number.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import budget, intervals, stats, wording
from analysis.intervals import Interval, Mean, Verdict
from analysis.predictions import correct_images
from analysis.tables import MARGIN as MARGIN
from analysis.tables import StudyTables

Scores = dict[str, pd.Series]  # test scores of a space, by seed
Correct = dict[str, dict[int, npt.NDArray[np.bool_]]]

PAIR_COLUMNS: Final = (
    *("first", "second", "verdict", "gap", "low", "high", "level", "n", "paired"),
    *("superiority", "superiority_low", "superiority_high", "only_first", "only_second"),
    *("needed_seeds", "needed_images", "ahead_from", "crossings", "few_trials"),
)


def scaled(margin: float, tables: StudyTables) -> float:
    """Return a margin in points as a difference of scores."""
    return margin / 100 if tables.plan["metric"]["unit"] == "fraction" else margin


@dataclass(frozen=True)
class Gap:
    """The gap between two tested winners, the higher mean first; `interval` gives it at any level.

    `difference` is over seeds; `image_error` is the standard error that comes from the test images, 0 where the score
    is no share of them. `only_first` and `only_second` count the images that one of them alone classifies right, as a
    mean over seeds; NaN without predictions.
    """

    first: str
    second: str
    difference: Mean
    paired: bool
    image_error: float
    only_first: float
    only_second: float

    def interval(self, level: float) -> Interval:
        """Return the gap with its interval at that level, over seeds and test images."""
        mean, images = self.difference, intervals.normal_reach(self.image_error, level)
        return intervals.square_and_add(mean.value, mean.n, mean.reach(level), images)


@dataclass(frozen=True)
class Verdicts:
    """All that the tested winners say: `tested` space by space, `pairs`, `ranking` and `worth` as tables."""

    margin: float
    tested: dict[str, Interval]
    pairs: pd.DataFrame
    worth: pd.DataFrame
    ranking: pd.DataFrame


def judge(tables: StudyTables, margin: float = MARGIN) -> Verdicts:
    """Return the verdicts of a study; `margin` is in percentage points of a fraction, else in the metric's unit.

    Raises ValueError where the margin is not a positive number.
    """
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(f"margin is {margin:g}; it is the largest gap that makes no difference: a number above 0.")
    scores, correct = _scores(tables), correct_images(tables)
    tested = score_intervals(tables, scores, correct)
    decided = pairs(tables, margin, scores, correct)
    worth = search_worth(tables, tested)
    return Verdicts(margin, tested, decided, worth, ranking(tables, tested, decided, worth))


def score_intervals(
    tables: StudyTables, scores: Scores | None = None, correct: Correct | None = None
) -> dict[str, Interval]:
    """Return the 95 % interval of the test score of each space's winner, over seeds and test images, in the order of
    the plan; spaces that are not tested are left out.
    """
    scores = _scores(tables) if scores is None else scores
    correct = correct_images(tables) if correct is None else correct
    return {space: _score_interval(part, correct.get(space, {}), tables) for space, part in scores.items()}


def _score_interval(scores: pd.Series, correct: dict[int, npt.NDArray[np.bool_]], tables: StudyTables) -> Interval:
    mean = intervals.mean_of(scores, stats.generator())
    images: float = stats.test_images(tables)
    if images and correct:
        images = intervals.effective_images(np.stack(list(correct.values())))
    parts = [intervals.share_reach(mean.value, images)] if images else []
    return intervals.square_and_add(mean.value, mean.n, mean.reach(intervals.LEVEL), *parts)


def pairs(tables: StudyTables, margin: float, scores: Scores, correct: Correct) -> pd.DataFrame:
    """Return a row per pair of spaces that are tested: `PAIR_COLUMNS`, as `docs/statistics.md` explains them.

    The better mean is `first`. The verdicts hold together with 95 %, and each interval has the level at which its pair
    was judged.
    """
    order = sorted(scores, key=lambda space: -float(scores[space].mean()))
    gaps = [_gap(a, b, scores, correct, tables) for place, a in enumerate(order) for b in order[place + 1 :]]
    judged = [gap for gap in gaps if gap.interval(intervals.LEVEL).known]  # who has no interval can claim nothing
    found = intervals.holm([gap.interval for gap in judged], scaled(margin, tables))
    verdicts = dict(zip([(gap.first, gap.second) for gap in judged], found, strict=True))
    curves, bounds = budget.mean_curves(tables), budget.best_of_k(tables)
    rows = []
    for gap in gaps:
        verdict, level = verdicts.get((gap.first, gap.second), ("cannot tell", np.nan))
        rows.append(
            _judged(gap, verdict, level)
            | _superiority(scores[gap.first], scores[gap.second], gap.paired)
            | _needed(gap, verdict, level, scaled(margin, tables), tables)
            | _budget(gap, curves, bounds)
        )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def gap_to(decided: pd.DataFrame, space: str, other: str) -> dict[str, Any]:
    """Return `gap`, `low`, `high`, `level`, `n` and `verdict` of `space` against `other`, from the rows of `pairs`."""
    names = ["gap", "low", "high", "level", "n", "verdict"]
    ahead = decided[(decided["first"] == space) & (decided["second"] == other)]
    if len(ahead):
        return dict(ahead.iloc[0][names])
    row = decided[(decided["first"] == other) & (decided["second"] == space)].iloc[0][names]
    verdict = "worse" if row["verdict"] == "better" else row["verdict"]
    return {**row, "gap": 0 - row["gap"], "low": 0 - row["high"], "high": 0 - row["low"], "verdict": verdict}


def _scores(tables: StudyTables) -> Scores:
    tested = stats.winning_finals(tables).dropna(subset="test_score")
    return {str(space): rows.set_index("seed")["test_score"] for space, rows in tested.groupby("space", sort=False)}


def _gap(first: str, second: str, scores: Scores, correct: Correct, tables: StudyTables) -> Gap:
    """Pair over the seeds that both have; where those are too few, but each has enough of its own, Welch."""
    one, other = scores[first], scores[second]
    difference = intervals.mean_of((one - other).dropna(), stats.generator())
    alone = [intervals.mean_of(part, stats.generator()) for part in (one, other)]
    paired = difference.n >= intervals.SMALLEST_SAMPLE or min(mean.n for mean in alone) < intervals.SMALLEST_SAMPLE
    if not paired or not difference.n:
        difference, paired = intervals.welch(*alone), False
    if difference.value < 0:  # the mean over shared seeds may be the other way round
        return _gap(second, first, scores, correct, tables)
    return Gap(first, second, difference, paired, *_images(first, second, scores, correct, tables, paired))


def _images(
    first: str, second: str, scores: Scores, correct: Correct, tables: StudyTables, paired: bool
) -> tuple[float, float, float]:
    """Return the error from test images, and on how many only one is right: image by image where predictions are
    stored, else as if the two had seen different images, which is wider.
    """
    images = stats.test_images(tables)
    if not images:
        return 0.0, np.nan, np.nan
    one, other = correct.get(first, {}), correct.get(second, {})
    shared = sorted(set(one) & set(other))
    if shared if paired else one and other:
        a, b = (np.stack([part[seed] for seed in (shared if paired else part)]) for part in (one, other))
        apart = [(one[seed] & ~other[seed], other[seed] & ~one[seed]) for seed in shared]
        alone = np.mean(np.sum(apart, axis=2), axis=0) if apart else (np.nan, np.nan)
        return intervals.discordance_error(a, b, paired), float(alone[0]), float(alone[1])
    shares = np.array([scores[first].mean(), scores[second].mean()])
    padded = (shares * images + 1) / (images + 2)  # as the pseudo-images of `discordance_error`: never 0
    return float(np.sqrt((padded * (1 - padded) / images).sum())), np.nan, np.nan


def _judged(gap: Gap, verdict: Verdict, level: float) -> dict[str, Any]:
    found = gap.interval(level)
    ends = {"gap": found.mean, "low": found.low, "high": found.high, "level": level, "n": found.n}
    images = {"only_first": gap.only_first, "only_second": gap.only_second}
    return {"first": gap.first, "second": gap.second, "verdict": verdict, **ends, "paired": gap.paired, **images}


def _superiority(first: pd.Series, second: pd.Series, paired: bool) -> dict[str, Any]:
    """Return how often a seed of `first` beats one of `second`, ties counting half, with the exact 95 % interval.

    Paired: over shared seeds, where the interval takes ties as lost for its low end and as won for its high end.
    Else over all pairs of seeds (Mann-Whitney), without an interval.
    """
    if not paired:
        beaten = np.sign(first.to_numpy()[:, None] - second.to_numpy()[None, :])
        return {"superiority": float((beaten + 1).mean() / 2)}
    difference = (first - second).dropna()
    n, won, tied = len(difference), int((difference > 0).sum()), int((difference == 0).sum())
    low, high = intervals.clopper_pearson(won, won + tied, n)
    return {"superiority": (won + tied / 2) / n, "superiority_low": low, "superiority_high": high}


def _needed(gap: Gap, verdict: Verdict, level: float, margin: float, tables: StudyTables) -> dict[str, Any]:
    """Return what would decide an open pair, if its true gap is the one seen, or the margin if that is larger."""
    if verdict != "cannot tell":
        return {}
    if not np.isfinite(level):
        return {"needed_seeds": float(intervals.SMALLEST_SAMPLE)}
    mean, target = gap.difference, max(gap.difference.value, margin)
    deviation = mean.error * float(np.sqrt(mean.n))
    seeds = intervals.needed_seeds(target, deviation, gap.image_error, level)
    if np.isfinite(seeds) or not gap.image_error:
        return {"needed_seeds": seeds}
    images = intervals.needed_images(target, gap.image_error, stats.test_images(tables), level)
    return {"needed_seeds": seeds, "needed_images": float(images)}


def _budget(gap: Gap, curves: pd.DataFrame, bounds: pd.DataFrame) -> dict[str, Any]:
    since, crossings = budget.lead(curves, gap.first, gap.second)
    other_way = budget.ahead_with_few_trials(bounds, gap.second, gap.first)
    return {
        "ahead_from": since,
        "crossings": wording.ranges(crossings),
        "few_trials": wording.ranges(other_way),
    }


def ranking(
    tables: StudyTables, tested: dict[str, Interval], decided: pd.DataFrame, worth: pd.DataFrame
) -> pd.DataFrame:
    """Return a row per space, the best first: those tested by mean test score, then the others by validation.

    `space`, `trial`, `rank_low` and `rank_high` (the places that the verdicts `decided` leave open), `test`, `low`,
    `high`, `n`, `gain`, `parameters`, `seconds_per_epoch`, `validation`, `epochs_trained`; missing where not known.
    """
    found, gains = stats.winners(tables).set_index("space"), worth.set_index("space")["gain"]
    rows = []
    for space in tables.plan["spaces"]:
        row: dict[str, Any] = {"space": space, "n": 0}
        if space in found.index:
            row |= _cost(tables, str(found["trial"][space])) | {
                "trial": found["trial"][space],
                "validation": found["score"][space],
                "epochs_trained": found["epochs_trained"][space],
                "gain": gains[space],
            }
        if space in tested:
            mean = tested[space]
            row |= {"test": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n}
            row |= _places(space, decided, len(tested))
        rows.append(row)
    columns = ["space", "trial", "rank_low", "rank_high", "test", "low", "high", "n", "gain", "parameters"]
    columns += ["seconds_per_epoch", "validation", "epochs_trained"]
    table = pd.DataFrame(rows, columns=columns).sort_values(["test", "validation"], ascending=False, kind="stable")
    return table.reset_index(drop=True)


def _places(space: str, decided: pd.DataFrame, count: int) -> dict[str, float]:
    better = decided[decided["verdict"] == "better"]
    behind, ahead = (better["second"] == space).sum(), (better["first"] == space).sum()
    return {"rank_low": float(1 + behind), "rank_high": float(count - ahead)}


def _cost(tables: StudyTables, trial: str) -> dict[str, Any]:
    row = tables.trials.set_index("trial").loc[trial]
    final = tables.final[tables.final["trial"] == trial]
    curves = tables.final_epochs[tables.final_epochs["final"].isin(final["final"])]
    if curves.empty:
        curves = tables.epochs[tables.epochs["trial"] == trial]
    return {"parameters": row["parameters"], "seconds_per_epoch": curves["seconds"].mean()}


def search_worth(tables: StudyTables, tested: dict[str, Interval]) -> pd.DataFrame:
    """Return what each space's search was worth: a row per space with a winner.

    `reference` and `validation` are the validation scores of the reference setting and of the winner, one run each,
    `gain` their difference; missing where one of them did not reach full length. `luck` is the winner's score in the
    search minus the mean validation score of its retrained seeds, on the same images; `selection_gap` the same minus
    their mean test score, with `low` and `high`. `note` says what to mind; `warning` whether it makes the scores of the
    search less than they seem.
    """
    found = stats.winners(tables).to_dict("records")
    columns = ["space", "trial", "reference", "validation", "gain", "luck", "selection_gap", "low", "high", "n", "note"]
    columns.append("warning")
    return pd.DataFrame([_worth(tables, winner, tested.get(str(winner["space"]))) for winner in found], columns=columns)


def _worth(tables: StudyTables, winner: dict[Any, Any], tested: Interval | None) -> dict[str, Any]:
    space, trial, validation = str(winner["space"]), str(winner["trial"]), float(winner["score"])
    row: dict[str, Any] = {"space": space, "trial": trial, "validation": validation, "reference": np.nan, "n": 0}
    origin = tables.trials[(tables.trials["space"] == space) & (tables.trials["origin"] == "reference")]
    full = stats.full_length(tables)
    known = full[full["trial"].isin(origin["trial"])]["score"]
    if len(known):
        row["reference"] = float(known.iloc[0])
    whole = winner["epochs_trained"] >= tables.plan["max_epochs"]
    row["gain"] = validation - row["reference"] if whole else np.nan
    final = tables.final[(tables.final["trial"] == trial) & (tables.final["state"] == "finished")]
    if whole and len(final):
        row["luck"] = validation - final["val_score"].mean()
    if whole and tested is not None:
        row |= _selection_gap(tables, validation, tested)
    note, warning = _note(tables, row, whole, is_reference=trial in set(origin["trial"]))
    return row | {"note": note, "warning": warning}


def _selection_gap(tables: StudyTables, validation: float, tested: Interval) -> dict[str, Any]:
    images = stats.validation_images(tables)
    below, above = intervals.share_reach(validation, images) if images else (0.0, 0.0)
    gap = validation - tested.mean
    test = (tested.high - tested.mean, tested.mean - tested.low)  # turned round: the test score is subtracted
    ends = intervals.square_and_add(gap, tested.n, (below, above), test)
    return {"selection_gap": gap, "low": ends.low, "high": ends.high, "n": tested.n}


def _note(tables: StudyTables, row: dict[str, Any], whole: bool, is_reference: bool) -> tuple[str, bool]:
    if not whole:
        return "no trial reached full length, so the winner's score in the search does not compare with others", True
    if np.isnan(row["reference"]):
        return "the reference setting has no score at full length", True
    if _at_chance(row["reference"], tables):
        return f"the reference setting is {wording.at_baseline(tables.plan)}: perhaps too few steps", True
    if row["gain"] < 0:
        return "not chosen by its last epoch alone: there the reference setting was ahead", False
    return ("the reference setting won: tuning gained nothing" if is_reference else ""), False


def _at_chance(score: float, tables: StudyTables) -> bool:
    """Whether a validation score cannot be told from guessing: its interval does not lie above chance."""
    chance = tables.plan["metric"].get("chance")
    images = stats.validation_images(tables)
    below = intervals.share_reach(score, images)[0] if images else 0.0
    return chance is not None and score - below <= chance
