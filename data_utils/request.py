"""What is asked of a data set: where its files are, in which size, with how large a test split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_utils.decoding import Size

TEST_FRACTION: Final = 0.2  # where a source defines no test split

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


def silent(_doing: str, _done: int, _total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Request:
    """One data set as a study wants it. None: the images' own size; the test split that the source defines, or 20 %."""

    data_dir: Path
    image_size: Size | None = None
    test_fraction: float | None = None
    progress: Progress = silent

    @property
    def fraction(self) -> float:
        """The share of a class that becomes the test split, where the source defines none."""
        return TEST_FRACTION if self.test_fraction is None else self.test_fraction

    def last(self, count: int) -> int:
        """How many of `count` images that is: at least one, halves rounded up."""
        return max(1, int(count * self.fraction + 0.5))

    def keep_test_split(self, source: str) -> None:
        """Raise `ValueError` if another test split is asked for than the one that `source` defines."""
        if self.test_fraction is not None:
            raise ValueError(
                f"--test-fraction is {self.test_fraction:g}, but {source} defines its own test split. Leave it out."
            )
