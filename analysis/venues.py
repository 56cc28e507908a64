"""How wide figures are printed by journals and conferences: `--venue NAME` draws the files of `figures/` that wide.

Looked up at the source: ACL, IEEE, Nature. The others are what tueplots 0.2 has for the style file that is named.
"""

from dataclasses import dataclass
from typing import Final

from analysis import style

CM: Final = 1 / 2.54  # in inches, as all widths here


@dataclass(frozen=True)
class Venue:
    """Widths in inches of a column and of the whole text, and the points of the figures' type.

    Where a page has one column both widths are the same.
    """

    column: float
    text: float
    points: float = 8

    @property
    def type_size(self) -> style.TypeSize:
        """Titles and legends no larger than the rest: narrow figures have no room."""
        return style.TypeSize(self.points, self.points, max(self.points - 0.5, style.SMALLEST_TYPE))


_COMMON_COLUMN: Final = Venue(5.5, 5.5)  # \textwidth 5.5 in in neurips_2024.sty and iclr2024_conference.sty

VENUES: Final = {
    "aaai": Venue(3.3, 6.975),  # aaai24.sty, as tueplots 0.2 has it
    "acl": Venue(7.7 * CM, 16 * CM),  # acl.sty: A4 less margins of 2.5 cm, columns 0.6 cm apart
    "cvpr": Venue(3.25, 6.875),  # cvpr.sty: "6 7/8 inches wide", "columns 3 1/4 inches wide"; ICCV has the same
    "eccv": Venue(12.2 * CM, 12.2 * CM),  # llncs.cls: \textwidth 12.2cm
    "iclr": _COMMON_COLUMN,
    "icml": Venue(3.25, 6.75),  # icml2024.sty: \textwidth 6.75 in, columns 0.25 in apart
    "ieee": Venue(3.5, 7.16),  # IEEE Author Center, size requirements for graphics: 3.5 and 7.16 inches
    "jmlr": Venue(6.0, 6.0),  # jmlr.org/format: text 6 inches wide
    "nature": Venue(8.9 * CM, 18.3 * CM, points=7),  # research-figure-guide.nature.com: 89 and 183 mm, type 5 to 7 pt
    "neurips": _COMMON_COLUMN,
    "tmlr": Venue(6.5, 6.5),  # tmlr.sty: \textwidth 6.5 in
}


def venue(name: str) -> Venue:
    """Return the widths of a venue. Raises ValueError where it is not known."""
    if name not in VENUES:
        raise ValueError(f"--venue is {name!r}, but must be one of {', '.join(VENUES)}.")
    return VENUES[name]
