"""One slot: has the images on its device and does one job after another. Plain PyTorch, no Ray."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch

from analysis.events import Event
from data_utils.batches import Batches, PairedBatches
from data_utils.images import Examples, Pairs
from data_utils.placement import Source, place
from data_utils.splits import SearchData, Subset
from study import memory, test_split
from study.job import EpochProbe, Job, OpenTest, Probe
from study.precision import exact_products, precision
from study.trial import TrialData, train

REPORT_SECONDS: Final = 2.0  # facts are handed over at rungs, and after so long between them


class Slot:
    """The place of a worker. `test` gives the test split when a job opens it, and not before. `classes`: 0 for pairs.

    `statistics` are mean and standard deviation of each channel, `gpus` is the slot's share of a GPU or their number.
    `available` is what a slot has of its GPU's memory beside the data, in bytes; None: not to be checked.
    """

    def __init__(
        self,
        data: SearchData,
        statistics: tuple[list[float], list[float]],
        test: Callable[[], Examples],
        classes: int,
        cpus: int,
        gpus: float = 0,
    ) -> None:
        torch.set_num_threads(cpus)
        torch.backends.cudnn.benchmark = True  # shapes stay the same through a trial; costs bit-equal repeats on a GPU
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._gpus = gpus
        self._statistics = statistics
        sources = self._place(data.images)
        training, validation = (self._batches(part, sources) for part in (data.train, data.validation))
        self._data = TrialData(training, validation, classes, data.mirror)
        self._test = test
        self.available = memory.available_bytes(self._device, gpus)
        self._facts: Iterator[Event] = iter(())

    def begin(self, job: Job | OpenTest) -> None:
        """Leave the job at hand for another one."""
        self._facts = iter(())  # with it goes the trial that it trained
        memory.release(self._device)
        self._pauses = (*job.rungs, job.max_epochs) if isinstance(job, Job) else ()
        self._patience = REPORT_SECONDS if isinstance(job, Job) else math.inf  # the test split is told of in one piece
        exact_products(fp32=job.fp32)
        self._facts = self._train(job) if isinstance(job, Job) else self._examine(job)

    def facts(self) -> list[Event]:
        """Go on with the job up to its next rung, its end, or a report that is due; return what happened."""
        facts: list[Event] = []
        begun = time.monotonic()
        for fact in self._facts:
            facts.append(fact)
            if fact.get("epoch") in self._pauses or time.monotonic() - begun > self._patience:
                break
        return facts

    def measure(self, job: Job) -> Probe:
        """Train `job` for a moment and return what it takes of a GPU."""
        return memory.measure(job, self._data, self._device)

    def time(self, job: Job) -> EpochProbe:
        """Train `job` for a moment and return what an epoch takes."""
        from study.probe import time_epoch  # here: no training needs it

        return time_epoch(job, self._data, self._device)

    def _train(self, job: Job) -> Iterator[Event]:
        """Train `job`, unless it is known to need more memory than there is."""
        if self.available is not None:
            dtype = precision(self._device, self._data.image_shape[1:], fp32=job.fp32)
            refusal = memory.shortage(job, self._data, dtype, self.available)
            if refusal is not None:
                yield {"event": "ended", "state": "out_of_memory", "error": refusal}
                return
        yield from train(job, self._data, self._device)
        memory.release(self._device)

    def _examine(self, job: OpenTest) -> Iterator[Event]:
        test = self._test()
        batches = self._batches(Subset(test, np.arange(len(test))), self._place(test))
        yield from test_split.examine(job, batches, self._device)

    def _place(self, examples: Examples) -> list[Source]:
        arrays = [examples.images, examples.targets] if isinstance(examples, Pairs) else [examples.images]
        return [place(array, self._device, self._gpus, len(arrays)) for array in arrays]

    def _batches(self, split: Subset, sources: list[Source]) -> Batches:
        if isinstance(split.images, Pairs):
            images, targets = sources
            return PairedBatches(split, images, targets, *self._statistics, self._device)
        return Batches(split, sources[0], *self._statistics, self._device)
