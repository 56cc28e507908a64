"""The search as Optuna studies, one a space, in a storage of Optuna's that optuna-dashboard reads.

A trial that was stopped is `PRUNED`, or `WAITING` as long as it may be taken up again, since Optuna lets no ended trial
go on: one that does all the same, in a study that is resumed with more trials, becomes a further trial. A diverged or
failed one is `FAIL`, an interrupted one stays `RUNNING`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.mirrors import Shown
from study.space import Space

STATES: Final = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
OWNER: Final = "archstudy"  # the attribute that says whose a study is, and the one that names a trial
PATIENCE: Final = 30  # seconds for which SQLite waits for somebody else's lock


def study_name(folder: str, space: str) -> str:
    """Return what the Optuna study of `space` is called."""
    return f"{folder} / {space}"


class OptunaStorage:
    """Writes to the storage at `url`. `created` is when the study began, and says that what is there is its own.

    Raises `ValueError` if a study of that name is another's.
    """

    def __init__(self, url: str, folder: str, created: str | None, spaces: Mapping[str, Space]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        waiting = {"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else None
        self._storage = RDBStorage(url, engine_kwargs=waiting)
        self._spaces = spaces
        self._studies: dict[str, int] = {}
        self._trials: dict[str, FrozenTrial] = {}
        names = {study.study_name: study for study in optuna.get_all_study_summaries(self._storage)}
        for space in spaces:
            known = names.get(study_name(folder, space))
            if known is not None and (created is None or known.user_attrs.get(OWNER) != created):
                raise ValueError(f"it has a study {known.study_name!r} of another run folder")
        if created is not None:
            for space in spaces:
                self._open(study_name(folder, space), space, created)

    def _open(self, name: str, space: str, created: str) -> None:
        study = optuna.create_study(storage=self._storage, study_name=name, direction="maximize", load_if_exists=True)
        study.set_user_attr(OWNER, created)
        self._studies[space] = study._study_id
        for trial in study.get_trials(deepcopy=False):
            self._trials[trial.user_attrs.get("trial", "")] = trial

    def bring(self, run: Shown) -> None:
        """Make the trial or add to it what it lacks. A final run is a note at its study: the test score."""
        if run.kind == "final":
            if run.tested is not None:
                note = f"test score of {run.key}"
                self._storage.set_study_user_attr(self._studies[run.space], note, run.tested["test_score"])
            return
        known = self._trials.get(run.key)
        if known is not None and known.state.is_finished():
            last = max(known.intermediate_values, default=0)
            if known.state is not TrialState.PRUNED or not run.epochs or run.epochs[-1]["epoch"] <= last:
                return
            known = None
        trial = self._as_optuna(run)
        if known is None and run.started is not None:
            self._create(run, trial)
        elif known is not None:
            self._add(known, trial)

    def _create(self, run: Shown, trial: FrozenTrial) -> None:
        number = self._storage.create_new_trial(self._studies[run.space], template_trial=trial)
        self._trials[run.key] = self._storage.get_trial(number)

    def _add(self, known: FrozenTrial, trial: FrozenTrial) -> None:
        for epoch, score in trial.intermediate_values.items():
            if epoch not in known.intermediate_values:
                self._storage.set_trial_intermediate_value(known._trial_id, epoch, score)
                known.intermediate_values[epoch] = score
        if trial.state.is_finished():
            for name, value in trial.user_attrs.items():
                self._storage.set_trial_user_attr(known._trial_id, name, value)
            values = None if trial.value is None else [trial.value]
            self._storage.set_trial_state_values(known._trial_id, trial.state, values)
        elif trial.state != known.state:
            self._storage.set_trial_state_values(known._trial_id, trial.state)
        known.state = trial.state

    def _as_optuna(self, run: Shown) -> FrozenTrial:
        scores = {event["epoch"]: event["val_score"] for event in run.epochs if event["val_score"] is not None}
        state = TrialState.WAITING if run.paused else TrialState.RUNNING
        if run.over and run.end is not None:
            state = STATES[run.end["state"]]
        counts = state in (TrialState.COMPLETE, TrialState.PRUNED) and scores
        parameters = {p.name: p.distribution for p in self._spaces[run.space].parameters if p.name in run.config}
        trial = create_trial(
            state=state,
            value=scores[max(scores)] if counts else None,
            params={name: run.config[name] for name in parameters},
            distributions=parameters,
            user_attrs=_attributes(run),
            intermediate_values=scores,
        )
        trial.datetime_start = _moment(run.started)
        trial.datetime_complete = _moment(run.end) if state.is_finished() else None
        return trial

    def flush(self) -> None:
        """Everything is written at once."""

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


def _attributes(run: Shown) -> dict[str, Any]:
    end = {"state": run.end["state"], "error": run.end["error"]} if run.end is not None else {}
    return {"trial": run.key, "origin": run.origin, **{name: value for name, value in end.items() if value}}


def _moment(event: Mapping[str, Any] | None) -> datetime | None:
    return None if event is None else datetime.fromtimestamp(event["time"], UTC)
