"""Tables for papers: LaTeX with the rules of booktabs, whatever characters the cells hold."""

import re
import textwrap
from collections.abc import Collection
from typing import Final

import pandas as pd

from analysis import wording

# In one pass, so that nothing is escaped twice. The second half is what fonts have not, or what TeX takes for something
# else: "[" after the end of a row for a length, "--" for a dash.
_ESCAPED: Final = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\string" + '"',
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{NO-BREAK SPACE}": "~",
}
_SPECIAL: Final = re.compile("|".join(map(re.escape, _ESCAPED)) + r"|-(?=-)|'(?=')")
_NUMBER: Final = re.compile(rf"[-+≥±>]?[\s{wording.STUCK}]?\d.*|{wording.MISSING}|")
_LAST_LATIN: Final = 0x17F  # of the characters that pdfLaTeX knows by itself
_WIDE: Final = 110  # letters in a line of a comment


def escape(text: str) -> str:
    """Return the text as LaTeX prints it, letter by letter; line breaks and other controls become spaces."""
    plain = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)
    return _SPECIAL.sub(lambda found: _ESCAPED.get(found[0], f"{found[0]}{{}}"), plain)


def tabular(shown: pd.DataFrame, note: str = "", bold: Collection[tuple[int, int]] = ()) -> str:
    r"""Return the table of texts `shown` as a `tabular`, under comments that say what it needs and what it means.

    `bold` holds row and column of what is set in bold. A column of numbers stands to the right, the others to the left.
    """
    numbers = [all(_NUMBER.fullmatch(cell) for cell in shown[name]) for name in shown.columns]
    rows = [
        [_cell(cell, numbers[at], (row, at) in bold) for at, cell in enumerate(cells)]
        for row, cells in enumerate(shown.itertuples(index=False, name=None))
    ]
    head = [escape(str(name)) for name in shown.columns]
    lines = [
        *_comments(shown, note),
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
        r"\toprule",
        rf"{' & '.join(head)} \\",
        r"\midrule",
        *(rf"{' & '.join(cells)} \\" for cells in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str, number: bool, bold: bool) -> str:
    escaped = re.sub(r"(?<!\w)-(?=\d)", "$-$", escape(text)) if number else escape(text)
    return rf"\textbf{{{escaped}}}" if bold else escaped


def _comments(shown: pd.DataFrame, note: str) -> list[str]:
    """Say what the preamble needs, other characters than Latin ones, and what the columns are."""
    letters = {letter for cell in [*shown.columns, *shown.to_numpy().ravel()] for letter in escape(str(cell))}
    foreign = "".join(sorted(letter for letter in letters if ord(letter) > _LAST_LATIN))
    needs = [r"needs \usepackage{booktabs}"]
    if foreign:
        needs.append(f"needs XeLaTeX or LuaLaTeX and a font that has {foreign}")
    return [f"% {line}" for part in [*needs, note] for line in textwrap.wrap(" ".join(part.split()), _WIDE)]
