"""What the page says of the experiment that a study belongs to: question, variants, what its source reported."""

from typing import Any

from analysis import replication, stats, wording
from analysis.figures.variants import difference
from analysis.summary import Cells
from analysis.tables import StudyTables, asked, searched
from analysis.verdicts import Verdicts, gap_to

TUNED = "tuned"
SCALES = {
    "small": "a small form of it: on other data, with little training, so it answers nothing about the source",
    "printed": "the settings as printed, without a search",
}


def head(tables: StudyTables) -> dict[str, str]:
    """Return `title`, `question` and `about` of the experiment: its source, and what this study is of it."""
    dataset = tables.plan["dataset"]
    parts = [f"Source {asked(tables.plan, 'source')}"]
    if asked(tables.plan, "scale") in SCALES:
        parts.append(SCALES[asked(tables.plan, "scale")])
    if count := dataset.get("train_images"):
        parts.append(f"{count:,} of the training images of {dataset['name']}, {wording.drawn(dataset)}")
    title, question = (str(asked(tables.plan, key)) for key in ("title", "question"))
    return {"title": title, "question": question, "about": "; ".join(parts) + "."}


def variant_rows(tables: StudyTables, judged: Verdicts) -> list[Cells]:
    """Return a row per variant: in what it differs, its score, its gap to the baseline and verdict.

    It differs from the baseline, where one is compared, whose own row has all in which others differ from it.
    """
    plan, baseline = tables.plan, asked(tables.plan, "baseline")
    settings = {space: _settings(plan, space) for space in plan["spaces"]}
    names = list(dict.fromkeys(name for held in settings.values() for name in held))
    apart = [name for name in names if len({held.get(name) for held in settings.values()}) > 1]
    same = settings.get(baseline, {})
    rows = []
    for space, held in settings.items():
        mean = judged.tested.get(space)
        own = [name for name in apart if name in held and (space == baseline or held[name] != same.get(name))]
        row: Cells = {
            "variant": (space, space),
            "differs in": (", ".join(f"{name} {held[name]}" for name in own) or wording.MISSING, ""),
            f"test {plan['metric']['name']}": (
                wording.short_interval(mean, plan) if mean else wording.MISSING,
                mean.mean if mean else None,
            ),
            "n": (str(mean.n if mean else 0), mean.n if mean else 0),
        }
        rows.append(row | (_against(space, baseline, judged, tables) if baseline else {}))
    return rows


def _settings(plan: dict[str, Any], space: str) -> dict[str, str]:
    free = {parameter["name"] for parameter in searched(plan, space)}
    reference = plan["spaces"][space]["reference"]
    return {
        parameter["name"]: TUNED if parameter["name"] in free else wording.value(reference.get(parameter["name"]))
        for parameter in plan["spaces"][space]["parameters"]
    }


def _against(space: str, baseline: str, judged: Verdicts, tables: StudyTables) -> Cells:
    heading = f"gap to {baseline}, {wording.difference_unit(tables.plan)}"
    if space == baseline or not {space, baseline} <= set(judged.tested):
        return {heading: (wording.MISSING, None), "verdict": ("baseline" if space == baseline else "not tested", "")}
    gap = gap_to(judged.pairs, space, baseline)
    shown = difference({**gap, "value": gap["gap"]}, tables.plan)
    return {heading: (shown, gap["gap"]), "verdict": (gap["verdict"], gap["verdict"])}


def variants_explained(tables: StudyTables) -> str:
    """Say what was tuned in which variants, and what the intervals hold."""
    tuned = {space: tuple(p["name"] for p in searched(tables.plan, space)) for space in tables.plan["spaces"]}
    if (tables.trials["origin"] == "reference").all():
        said = "Nothing was tuned: each had its reference setting."
    elif len(set(tuned.values())) == 1:
        names = next(iter(tuned.values()))
        said = f"Tuned in each of them: {wording.listed(list(names))}." if names else "Nothing was tuned."
    else:
        said = " ".join(f"Tuned in {space}: {wording.listed(list(names))}." for space, names in tuned.items())
    if asked(tables.plan, "baseline") is None:
        return said
    return (
        f"{said} The baseline's row lists what it holds, the others what differs from that. Gaps have intervals over "
        f"shared {stats.spread(tables)}; the verdicts of all pairs hold together."
    )


def reported_rows(tables: StudyTables) -> list[Cells]:
    """Return a row for each score that the source reported for this experiment, beside what this study measured."""
    rows = []
    for row, measured, why in replication.measure(tables):
        shown = replication.shown(row, measured)
        ours = shown["ours"] if measured else f"not measured here: {why}"
        names = ("network", "setting", "reported")
        rows.append(
            {
                **{name: (shown[name], shown[name]) for name in names},
                "ours": (ours, measured["mean"] if measured else None),
                "reported lies": (shown["reported lies"], shown["reported lies"]),
                "remark": (row["reason"], ""),
            }
        )
    return rows


def is_one(tables: StudyTables) -> bool:
    """Whether the study belongs to an experiment."""
    return bool(tables.plan.get("experiment"))
