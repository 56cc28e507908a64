"""One slot: has the images on its device and does one job after another. Plain PyTorch, no Ray."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch

from analysis.events import Event
from data_utils.batches import Batches
from data_utils.images import Images
from data_utils.placement import Source, place
from data_utils.splits import SearchData, Subset
from study import test_split
from study.job import Job, OpenTest
from study.trial import TrialData, train

REPORT_SECONDS: Final = 2.0  # facts are handed over at rungs, and after so long between them


class Slot:
    """The place of a worker. `test` gives the test split when a job opens it, and not before.

    `statistics` are mean and standard deviation of each channel, `gpus` is the slot's share of a GPU or their number.
    """

    def __init__(
        self,
        data: SearchData,
        statistics: tuple[list[float], list[float]],
        test: Callable[[], Images],
        classes: int,
        cpus: int,
        gpus: float = 0,
    ) -> None:
        torch.set_num_threads(cpus)
        torch.backends.cudnn.benchmark = True  # shapes stay the same through a trial; costs bit-equal repeats on a GPU
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._gpus = gpus
        self._statistics = statistics
        source = self._place(data.images)
        self._data = TrialData(self._batches(data.train, source), self._batches(data.validation, source), classes)
        self._test = test
        self._facts: Iterator[Event] = iter(())

    def begin(self, job: Job | OpenTest) -> None:
        """Leave the job at hand for another one."""
        self._pauses = (*job.rungs, job.max_epochs) if isinstance(job, Job) else ()
        self._patience = REPORT_SECONDS if isinstance(job, Job) else math.inf  # the test split is told of in one piece
        self._facts = train(job, self._data, self._device) if isinstance(job, Job) else self._examine(job)

    def facts(self) -> list[Event]:
        """Go on with the job up to its next rung, its end, or a report that is due; return what happened."""
        facts: list[Event] = []
        begun = time.monotonic()
        for fact in self._facts:
            facts.append(fact)
            if fact.get("epoch") in self._pauses or time.monotonic() - begun > self._patience:
                break
        return facts

    def _examine(self, job: OpenTest) -> Iterator[Event]:
        test = self._test()
        batches = self._batches(Subset(test, np.arange(len(test))), self._place(test))
        yield from test_split.examine(job, batches, self._device)

    def _place(self, images: Images) -> Source:
        return place(images.images, self._device, self._gpus)

    def _batches(self, split: Subset, source: Source) -> Batches:
        return Batches(split, source, *self._statistics, self._device)
