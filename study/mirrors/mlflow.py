"""The study as runs of an MLflow experiment that has the run folder's name."""

import os
from collections.abc import Iterator
from typing import Any, Final

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent anywhere; read at import
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # by itself it asks a server that is gone for minutes

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from study.mirrors import Shown

STATES: Final = {"finished": "FINISHED", "stopped": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
METRICS: Final = ("val_score", "train_score", "val_loss", "train_loss", "lr", "images_per_second", "seconds")
OWNER: Final = "archstudy.created"
KEY: Final = "archstudy.run"
AT_ONCE: Final = 500  # metrics in a request; MLflow takes 1,000


class Mlflow:
    """Writes to the tracking server or store at `url`. `created` says that an experiment is this study's own.

    Raises `ValueError` if the experiment called `name` is another's.
    """

    def __init__(self, url: str, name: str, created: str | None) -> None:
        self._client = MlflowClient(tracking_uri=url)
        self._runs: dict[str, str] = {}
        self._brought: dict[str, int] = {}
        self._ended: set[str] = set()
        known = self._client.get_experiment_by_name(name)
        if known is not None and (created is None or known.tags.get(OWNER) != created):
            raise ValueError(f"it has an experiment {name!r} of another run folder")
        if created is None:
            return
        self._experiment = known.experiment_id if known else self._client.create_experiment(name, tags={OWNER: created})
        for run in self._known():
            key = run.data.tags.get(KEY, "")
            self._runs[key] = run.info.run_id
            history = self._client.get_metric_history(run.info.run_id, "val_loss")
            self._brought[key] = max((metric.step for metric in history), default=0)

    def _known(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], run_view_type=ViewType.ALL, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def bring(self, run: Shown) -> None:
        """Make the run or add to it what it lacks."""
        if run.started is None:
            return
        number = self._runs.get(run.key) or self._begin(run)
        new = [event for event in run.epochs if event["epoch"] > self._brought.get(run.key, 0)]
        metrics = [metric for event in new for metric in _metrics(event, METRICS)]
        for start in range(0, len(metrics), AT_ONCE):
            self._client.log_batch(number, metrics=metrics[start : start + AT_ONCE])
        if new:
            self._brought[run.key] = new[-1]["epoch"]
        if run.tested is not None:
            tested = {**run.tested, "epoch": self._brought.get(run.key, 0)}
            self._client.log_batch(number, metrics=list(_metrics(tested, ("test_score", "test_loss"))))
        if run.over and run.end is not None and run.key not in self._ended:
            self._client.set_terminated(number, STATES[run.end["state"]], int(1000 * run.end["time"]))
            self._ended.add(run.key)
        elif run.end is None and run.key in self._ended:  # it paused, and goes on in a study with more trials
            self._client.update_run(number, "RUNNING")
            self._ended.discard(run.key)

    def _begin(self, run: Shown) -> str:
        assert run.started is not None, "bring() has looked"
        tags = {KEY: run.key, "space": run.space, "kind": run.kind, "origin": run.origin}
        made = self._client.create_run(
            self._experiment, start_time=int(1000 * run.started["time"]), run_name=run.key, tags=tags
        )
        self._runs[run.key] = made.info.run_id
        params = [Param(name, str(value)) for name, value in run.config.items()]
        self._client.log_batch(made.info.run_id, params=params, tags=[RunTag("seed", str(run.seed))])
        return str(made.info.run_id)

    def flush(self) -> None:
        """Everything is sent at once."""

    def close(self) -> None:
        """Nothing is open."""


def _metrics(event: dict[str, Any], names: tuple[str, ...]) -> Iterator[Metric]:
    for name in names:
        if event[name] is not None:
            yield Metric(name, event[name], int(1000 * event["time"]), event["epoch"])
