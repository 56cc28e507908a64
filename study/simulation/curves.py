"""Made-up learning curves over a real search space, and recorded ones: what the simulator trains instead of networks.

A made-up problem is drawn from a `Family` and a seed. Over the hyperparameters of a space lie random surfaces, each
zero at an optimum and growing away from it: a few hyperparameters matter much and most little, the best value of a
numeric one shifts with a categorical one, and a conditional one counts only where it applies. From surfaces follow

- the final score: `chance` + range x exp(-(distance / median distance)^2 x 0.29), so that a random configuration loses
  a quarter of the range in the median, one in eight is near chance, and the best loses nothing;
- how slowly the curve rises to it, which may go with the final score (slow starters) or not;
- what an annealed learning rate holds back until the last third of the training (crossing curves);
- where training diverges, and how long an epoch takes.

The reference setting is better than most and worse than the best tenth, as published ones are. What a trial shows is
noisy, in each epoch and with each seed; what it is worth is not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution

from analysis.events import Event, read_events
from study.plan import check_own_file, read_study
from study.sampler import draw, seed_of
from study.space import Parameter, Space, position
from study.spaces import find

CHANCE: Final = 0.1
BEST: Final = 0.98
DRAWS: Final = 200  # random configurations that say what is usual on a surface
MEDIAN_LOSS: Final = 0.29  # 1 - exp(-0.29) = 25 % of the range between chance and the best
SHIFT: Final = 0.2  # of the best value of a numeric hyperparameter with a categorical one, in shares of its range
ANNEALED: Final = ("step", "cosine", "one_cycle")  # schedules that hold back until the last third

NORMAL: Final = NormalDist()

Config = Mapping[str, Any]


class Curve(NamedTuple):
    """What training a configuration would show: `scores` (epochs,), NaN from where it diverges; seconds of an epoch;
    the score at full length without noise, chance where it diverges.
    """

    scores: npt.NDArray[np.float64]
    seconds: float
    worth: float


class Problem(NamedTuple):
    """A space with a curve for each configuration and seed. `best` and `usual` are the worth of the best and the median
    worth of random configurations: a regret of 0 and of 1.
    """

    space: Space
    max_epochs: int
    curve: Callable[[Config, int], Curve]
    best: float
    usual: float

    def regret(self, worth: float) -> float:
        """Return how far `worth` is from the best, in units of a random configuration's median distance."""
        return (self.best - worth) / (self.best - self.usual)


@dataclass(frozen=True)
class Family:
    """A kind of learning curves.

    `rise` is the time constant of the usual curve as a share of the full length, `rise_spread` the spread of its
    logarithm over configurations, of which the part `slow_if_good` goes with a good final score. `delay` is the
    share of the length for which the slowest tenth stays at chance. `held_back` is what annealed schedules lack until
    the last third, in shares of the range. `noise` is the standard deviation of an epoch's score, `seed_noise` that
    of a whole curve. `diverging` is the share of random configurations that diverge, `cost_spread` the spread of the
    logarithm of an epoch's seconds.
    """

    description: str
    rise: float = 0.12
    rise_spread: float = 0.4
    slow_if_good: float = 0.0
    delay: float = 0.0
    held_back: float = 0.0
    noise: float = 0.01
    seed_noise: float = 0.01
    diverging: float = 0.05
    cost_spread: float = 0.6


FAMILIES: Final[dict[str, Family]] = {
    "orderly": Family("curves keep their order: what is good early is good late", slow_if_good=-0.5),
    "slow starters": Family(
        "good configurations start slowly", rise=0.2, rise_spread=0.7, slow_if_good=0.4, delay=0.15
    ),
    "crossing": Family("annealed schedules are behind until the last third", rise_spread=0.6, held_back=0.12),
    "noisy": Family("validation scores are noisy", noise=0.05, seed_noise=0.02),
    "diverging": Family("a third of all configurations diverge", diverging=0.33, noise=0.02),
}


class Surface:
    """A random function of configurations: 0 at its optimum, above elsewhere, with median 1 over random ones."""

    def __init__(self, space: Space, generator: np.random.Generator) -> None:
        self._parameters = space.parameters
        weights = generator.exponential(size=len(self._parameters)) ** 3  # a few matter much
        choices = [p for p in self._parameters if isinstance(p.distribution, CategoricalDistribution)]
        self._terms: dict[str, Callable[[Config], float]] = {}
        for parameter, weight in zip(self._parameters, weights, strict=True):
            if isinstance(parameter.distribution, CategoricalDistribution):
                self._terms[parameter.name] = _categorical(parameter, weight, generator)
            else:
                other = choices[int(generator.integers(len(choices)))]
                self._terms[parameter.name] = _numeric(parameter, weight, other, generator)
        self._median = 1.0
        usual = [self(draw(space, generator)) for _ in range(DRAWS)]
        self._median = float(np.median(usual))
        self.sample = np.sort(np.array(usual) / self._median)  # (DRAWS,)

    def __call__(self, config: Config) -> float:
        return sum(self._terms[name](config) for name in config) / self._median

    def rank(self, config: Config) -> float:
        """Return the share of random configurations that lie nearer to the optimum, between 0 and 1."""
        return float(np.searchsorted(self.sample, self(config)) / len(self.sample))


def _categorical(parameter: Parameter, weight: float, generator: np.random.Generator) -> Callable[[Config], float]:
    assert isinstance(parameter.distribution, CategoricalDistribution)
    penalties = generator.uniform(size=len(parameter.distribution.choices))
    penalties -= penalties.min()
    table = {choice: weight * float(p) for choice, p in zip(parameter.distribution.choices, penalties, strict=True)}
    return lambda config: table[config[parameter.name]]


def _numeric(
    parameter: Parameter, weight: float, other: Parameter, generator: np.random.Generator
) -> Callable[[Config], float]:
    assert isinstance(other.distribution, CategoricalDistribution)
    centre = generator.uniform(0.2, 0.8)
    shifts = generator.uniform(-SHIFT, SHIFT, size=len(other.distribution.choices))
    optima = {
        choice: float(np.clip(centre + s, 0, 1)) for choice, s in zip(other.distribution.choices, shifts, strict=True)
    }

    def penalty(config: Config) -> float:
        optimum = optima.get(config.get(other.name), centre)
        return 4 * weight * (position(parameter, config[parameter.name]) - optimum) ** 2

    return penalty


class _Landscape:
    """The surfaces of one made-up problem and the curve that follows from them for a configuration."""

    def __init__(self, family: Family, space: Space, max_epochs: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._family, self._max_epochs = family, max_epochs
        self._slowness, self._danger, self._cost = (Surface(space, generator) for _ in range(3))
        best, worst = 0.1, 0.4  # ranks that the loss of the reference setting may have
        while self._breaks_off(best, self._danger.rank(space.reference)):  # whatever the loss is
            self._danger = Surface(space, generator)
        self.loss = Surface(space, generator)
        while not best <= self.loss.rank(space.reference) <= worst or self.diverges(space.reference):
            self.loss = Surface(space, generator)

    def worth(self, config: Config) -> float:
        """Return the score at full length without noise, were it not to diverge."""
        return CHANCE + (BEST - CHANCE) * float(np.exp(-MEDIAN_LOSS * self.loss(config) ** 2))

    def diverges(self, config: Config) -> bool:
        """Whether training breaks off: more often far from the optimum, as learning rates that are too high do."""
        return self._breaks_off(self.loss.rank(config), self._danger.rank(config))

    def _breaks_off(self, loss: float, danger: float) -> bool:
        return 0.6 * _normal(loss) + 0.8 * _normal(danger) > _normal(1 - self._family.diverging)

    def curve(self, config: Config, seed: int) -> Curve:
        """Return what a trial of `config` with `seed` shows."""
        family, generator = self._family, np.random.default_rng(seed)
        share = np.arange(1, self._max_epochs + 1) / self._max_epochs  # (epochs,)
        good = family.slow_if_good
        slow = good * _normal(1 - self.loss.rank(config)) + np.sqrt(1 - good**2) * _normal(self._slowness.rank(config))
        delay = family.delay * NORMAL.cdf(slow) ** 2
        constant = family.rise * float(np.exp(family.rise_spread * slow))
        risen = -np.expm1(-np.maximum(share - delay, 0) / (1 - delay) / constant) / -np.expm1(-1 / constant)
        if config.get("schedule") in ANNEALED:
            risen *= 1 - family.held_back * (1 - np.clip((share - 2 / 3) * 3, 0, 1))
        worth = self.worth(config)
        noise = generator.normal(0, family.noise, self._max_epochs) + generator.normal(0, family.seed_noise)
        scores = np.clip(CHANCE + (worth - CHANCE) * risen + noise * (worth - CHANCE), 0, 1)
        seconds = float(np.exp(family.cost_spread * _normal(self._cost.rank(config))))
        if self.diverges(config):
            scores[int(generator.integers(max(1, self._max_epochs // 3))) :] = np.nan
            worth = CHANCE
        return Curve(scores, seconds, worth)


def _normal(rank: float) -> float:
    """Return the value of a standard normal variable that has this rank; the ends are those of `DRAWS` draws."""
    return NORMAL.inv_cdf(min(max(rank, 0.5 / DRAWS), 1 - 0.5 / DRAWS))


def made_up(family: str, space: Space, max_epochs: int, seed: int) -> Problem:
    """Draw a problem of a family."""
    landscape = _Landscape(FAMILIES[family], space, max_epochs, seed_of("problem", family, space.name, seed))
    generator = np.random.default_rng(seed_of("usual", family, seed))
    worths = [landscape.curve(draw(space, generator), 0).worth for _ in range(DRAWS)]
    return Problem(space, max_epochs, landscape.curve, BEST, float(np.median(worths)))


class _Recorded:
    """Curves of the trials of a study: a configuration gets the curve of the recorded one that is nearest to it."""

    def __init__(self, space: Space, configs: Sequence[Config], curves: Sequence[Curve]) -> None:
        self._space, self._curves = space, curves
        self._places = np.array([places(space, config) for config in configs])  # (trials, columns)

    def curve(self, config: Config, seed: int) -> Curve:
        """Return the nearest curve, whatever the seed: each configuration was trained once."""
        del seed
        return self._curves[self.nearest(config)]

    def nearest(self, config: Config) -> int:
        """Return the number of the recorded trial that lies nearest to `config`."""
        return int(((self._places - np.array(places(self._space, config))) ** 2).sum(axis=1).argmin())


def places(space: Space, config: Config) -> list[float]:
    """Return `config` as numbers whose squared distances compare: two values of a categorical hyperparameter are 1
    apart, as the ends of a numeric range are, and as one that applies is from one that does not.
    """
    found: list[float] = []
    for parameter in space.parameters:
        applies = parameter.name in config
        if isinstance(parameter.distribution, CategoricalDistribution):
            found += [
                applies * (config.get(parameter.name) == choice) / 2**0.5 for choice in parameter.distribution.choices
            ]
        else:
            found += [position(parameter, config[parameter.name]), 0.0] if applies else [0.5, 3**0.5 / 2]
    return found


FEWEST_CURVES: Final = 10


def recorded(folder: Path) -> list[Problem]:
    """Return the problem of each space of the study in `folder`, which `--no-stopping` trained to full length.

    Those trials count that came to full length or diverged. What a trial is worth is its own last score, and the best
    is the best of them. Files of spaces that study.json names are run. Raises `ValueError` where a space has
    fewer than `FEWEST_CURVES`, and `PlanError` (one too) where such a file lies in `folder` itself.
    """
    content = read_study(folder)
    events, _ = read_events(folder / "events.jsonl")
    named = [stored["file"] or name for name, stored in content["spaces"].items()]
    for space in named:
        check_own_file(space, folder)
    spaces = [find(space) for space in named]
    return [_recorded(space, content["max_epochs"], content["metric"]["chance"], events) for space in spaces]


def _recorded(space: Space, max_epochs: int, chance: float, events: Sequence[Event]) -> Problem:
    configs = {e["trial"]: e["config"] for e in events if e["event"] == "suggested" and e["space"] == space.name}
    scores = {trial: np.full(max_epochs, np.nan) for trial in configs}
    seconds: dict[str, list[float]] = {trial: [] for trial in configs}
    for event in events:
        if event["event"] == "epoch" and event["trial"] in configs and event["val_score"] is not None:
            scores[event["trial"]][event["epoch"] - 1] = event["val_score"]
            seconds[event["trial"]].append(event["seconds"])
    ends = {e["trial"]: e["state"] for e in events if e["event"] == "ended" and e["trial"] in configs}
    whole = [trial for trial, state in ends.items() if state in ("finished", "diverged") and seconds[trial]]
    if len(whole) < FEWEST_CURVES:
        raise ValueError(
            f"{space.name} has {len(whole)} curves of full length, but a problem needs {FEWEST_CURVES}. Record more: "
            f"python -m study.run --space {space.name} --no-stopping --trials 200."
        )
    worth = {trial: float(scores[trial][-1]) if ends[trial] == "finished" else chance for trial in whole}
    curves = [Curve(scores[trial], float(np.mean(seconds[trial])), worth[trial]) for trial in whole]
    known = _Recorded(space, [configs[trial] for trial in whole], curves)
    generator = np.random.default_rng(0)
    usual = np.median([known.curve(draw(space, generator), 0).worth for _ in range(DRAWS)])
    return Problem(space, max_epochs, known.curve, max(worth.values()), float(usual))
