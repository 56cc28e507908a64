"""A Gaussian process over configurations and epochs: where in a space a better configuration may lie.

The score of a trial with configuration x after an epoch is taken to be

    level + w lead + u(x) + w s(x) + a + w b + noise,    w = log(max_epochs / epoch) / log(max_epochs)

with w from 1 after the first epoch to 0 at full length. u is what x is worth at full length and s how far early scores
are from that, so that a slow starter may be a good one; a and b are the trial's own. So a trial that was stopped after
one epoch tells of both, and of the first less than one of full length does (a linear basis over the budget, as in Klein
et al. 2017, arXiv 1605.07079). Scores of any metric are taken as normal scores of their ranks.

u and s have Matern 5/2 kernels with a length scale for each hyperparameter, so that those which do not matter drop out.
Of hyperparameters on a scale the squared distance counts, of categorical ones whether they differ; one that applies in
only one of two configurations is far off. Length scales and variances are the most probable ones. The prior of the
length scales has them grow with the root of their number, without which twenty hyperparameters have no neighbours
(Hvarfner et al. 2024, arXiv 2402.02229).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm, rankdata
from threadpoolctl import ThreadpoolController

from study.space import Space, position

Config = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

VARIANCES: Final = (1.0, 0.2, 0.1, 0.1, 0.03)  # prior medians for u, s, a, b and noise, of scores with variance 1
# Standard deviations of the logarithms, of length scales (squared, inverse) and of variances. The latter are tight,
# since only good trials come to full length and their worth hardly differs: free variances would lay all that early
# scores tell of configurations to s, and nothing to u.
SPREADS: Final = (1.7, 0.3)
LEVEL: Final = 4.0  # prior variance of `level` and of `lead`
BOUNDS: Final = (-12.0, 5.0)  # of all these logarithms
STEPS: Final = 20  # of the optimiser; more find nothing better
JITTER: Final = 1e-6
APPLIES_NOT: Final = (0.5, 3**0.5 / 2)  # as far from the ends of a range as these are from one another


class Seen(NamedTuple):
    """What is known of a trial: scores by epoch, the best of them highest; `failed`: it has no score at full length."""

    config: Config
    scores: Mapping[int, float]
    failed: bool


class _Scores(NamedTuple):
    """Scores that the process is told, (scores,) each: of which trial, at which w, as normal scores."""

    trial: npt.NDArray[np.int64]
    early: Floats
    value: Floats


class _Kernel(NamedTuple):
    """A kernel between configurations and its derivative by their squared distance."""

    value: Floats
    slope: Floats


class Surrogate:
    """The process, given some trials; at least one of them has a score or has failed."""

    def __init__(self, space: Space, max_epochs: int, seen: Sequence[Seen]) -> None:
        self._space = space
        self._trials = [trial for trial in seen if trial.scores or trial.failed]
        self._pending = _coded(space, [trial.config for trial in seen if not (trial.scores or trial.failed)])
        self._known = _coded(space, [trial.config for trial in self._trials])
        self._scores = _told(self._trials, max_epochs)
        with _threads().limit(limits=1):  # these matrices are small, and trials train on the other cores
            self._fit()

    def expected_improvement(self, configs: Sequence[Config]) -> Floats:
        """Return for each of `configs` by how much it may be expected to be worth more than the best trial, (configs,).

        Near one that is being tried and has no score yet there is less to find.
        """
        new = _coded(self._space, configs)
        with _threads().limit(limits=1):
            mean, deviation = self._predict(_distances(self._space, self._known, new))
        ahead = mean - self._best
        gain: Floats = ahead * norm.cdf(ahead / deviation) + deviation * norm.pdf(ahead / deviation)
        if not len(self._pending):
            return gain
        squared = np.tensordot(self._inverse_scales(0), _distances(self._space, self._pending, new), 1)
        apart: Floats = 1 - _matern(squared).value.max(axis=0)
        return gain * apart

    def _fit(self) -> None:
        self._distance = _distances(self._space, self._known, self._known)  # (hyperparameters, trials, trials)
        self._both_early = np.outer(self._scores.early, self._scores.early)  # (scores, scores), as the next two
        self._pairs = np.ix_(self._scores.trial, self._scores.trial)
        self._same = np.equal.outer(self._scores.trial, self._scores.trial).astype(float)
        self._first = np.searchsorted(self._scores.trial, np.arange(len(self._trials)))  # of each trial's scores
        count = 2 * len(self._space.parameters)
        self._prior = np.r_[np.full(count, -np.log(count / 2)), np.log(VARIANCES)]
        self._prior_spread = np.r_[np.full(count, SPREADS[0]), np.full(len(VARIANCES), SPREADS[1])]
        bounds = [BOUNDS] * len(self._prior)
        limits = {"maxiter": STEPS}
        found = minimize(self._loss, self._prior, jac=True, method="L-BFGS-B", bounds=bounds, options=limits)
        self._settings: Floats = found.x
        worth, lack = (self._kernel(which).value for which in (0, 1))
        self._root = np.linalg.cholesky(self._covariance(worth, lack))
        self._weights: Floats = cho_solve((self._root, True), self._scores.value)
        _, _, own, *_ = self._variances
        of_trials = np.arange(len(self._trials))[:, None] == self._scores.trial
        between: Floats = self._variances[0] * worth[:, self._scores.trial] + own * of_trials + LEVEL
        self._best = float((between @ self._weights).max())

    @property
    def _variances(self) -> Floats:
        return np.asarray(np.exp(self._settings[-len(VARIANCES) :]))

    def _inverse_scales(self, which: int) -> Floats:
        """Return the inverse squared length scales of u (0) or s (1)."""
        count = len(self._space.parameters)
        return np.asarray(np.exp(self._settings[which * count : (which + 1) * count]))

    def _kernel(self, which: int) -> _Kernel:
        return _matern(np.tensordot(self._inverse_scales(which), self._distance, 1))

    def _covariance(self, worth: Floats, lack: Floats) -> Floats:
        """Return the covariance of the scores from the kernels of u and s between the trials."""
        of_u, of_s, of_a, of_b, noise = self._variances
        found: Floats = of_u * worth[self._pairs] + self._both_early * (of_s * lack[self._pairs])
        found += self._same * (of_a + of_b * self._both_early) + LEVEL * (1 + self._both_early)
        found[np.diag_indices_from(found)] += noise + JITTER
        return found

    def _loss(self, settings: Floats) -> tuple[float, Floats]:
        """Return minus the logarithm of the posterior density of `settings`, and its gradient."""
        self._settings = settings
        worth, lack = self._kernel(0), self._kernel(1)
        factor = cho_factor(self._covariance(worth.value, lack.value), lower=True)
        inverse = cho_solve(factor, np.eye(len(self._scores.value)))
        weights = inverse @ self._scores.value
        loss = self._scores.value @ weights / 2 + np.log(np.diag(factor[0])).sum()
        by_score = (inverse - np.outer(weights, weights)) / 2  # the gradient by the covariance
        by_early = by_score * self._both_early
        of_u, of_s, *_ = self._variances
        by_u, by_s = self._of_trials(by_score), self._of_trials(by_early)
        gradient = np.r_[
            of_u * np.tensordot(self._distance, by_u * worth.slope, 2) * self._inverse_scales(0),
            of_s * np.tensordot(self._distance, by_s * lack.slope, 2) * self._inverse_scales(1),
            self._variances
            * [
                (by_u * worth.value).sum(),
                (by_s * lack.value).sum(),
                (by_score * self._same).sum(),
                (by_early * self._same).sum(),
                np.trace(by_score),
            ],
        ]
        off = (settings - self._prior) / self._prior_spread
        return float(loss + off @ off / 2), gradient + off / self._prior_spread

    def _of_trials(self, by_score: Floats) -> Floats:
        """Sum a matrix over scores within each pair of trials."""
        rows = np.add.reduceat(by_score, self._first, axis=0)
        return np.asarray(np.add.reduceat(rows, self._first, axis=1))

    def _predict(self, distance: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of what configurations are worth, at these distances from the trials."""
        of_u, _, own, *_ = self._variances
        kernel = _matern(np.tensordot(self._inverse_scales(0), distance, 1)).value
        between = of_u * kernel[self._scores.trial] + LEVEL  # (scores, configs)
        explained = (solve_triangular(self._root, between, lower=True) ** 2).sum(axis=0)
        return between.T @ self._weights, np.sqrt(np.maximum(of_u + own + LEVEL - explained, JITTER))


def _told(trials: Sequence[Seen], max_epochs: int) -> _Scores:
    """Return the first and the last two scores of each trial; one that failed is worse than all at full length.

    What it reached before cannot be relied on.
    """
    found = []
    for index, trial in enumerate(trials):
        scores = {max_epochs: -np.inf} if trial.failed else trial.scores
        epochs = sorted(scores)
        for epoch in dict.fromkeys((epochs[0], *epochs[-2:])):
            early = np.log(max_epochs / epoch) / np.log(max_epochs) if epoch < max_epochs else 0.0
            found.append((index, early, scores[epoch]))
    trial_of, early_of, score_of = map(np.array, zip(*found, strict=True))
    return _Scores(trial_of, early_of, norm.ppf((rankdata(score_of) - 0.5) / len(score_of)))


def _coded(space: Space, configs: Sequence[Config]) -> Floats:
    """Return configurations as numbers, (configs, hyperparameters, 2), which `_distances` takes apart."""
    coded = np.zeros((len(configs), len(space.parameters), 2))
    for row, config in zip(coded, configs, strict=True):
        for place, parameter in zip(row, space.parameters, strict=True):
            if isinstance(parameter.distribution, CategoricalDistribution):
                place[0] = (
                    parameter.distribution.choices.index(config[parameter.name]) if parameter.name in config else -1
                )
            else:
                place[:] = (position(parameter, config[parameter.name]), 0) if parameter.name in config else APPLIES_NOT
    return coded


def _distances(space: Space, these: Floats, those: Floats) -> Floats:
    """Return squared distances by hyperparameter, (hyperparameters, these, those), 0 to 1."""
    found = np.empty((len(space.parameters), len(these), len(those)))
    for number, parameter in enumerate(space.parameters):
        left, right = these[:, None, number], those[None, :, number]
        if isinstance(parameter.distribution, CategoricalDistribution):
            found[number] = left[..., 0] != right[..., 0]
        else:
            found[number] = ((left - right) ** 2).sum(axis=-1)
    return found


def _matern(squared: Floats) -> _Kernel:
    """Return the Matern kernel with smoothness 5/2 at squared distances."""
    far = np.sqrt(5 * squared)
    fallen = np.exp(-far)
    return _Kernel((1 + far + far**2 / 3) * fallen, -5 / 6 * (1 + far) * fallen)


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()
