"""The report: its page, its files, its command line; and, slowly, in a real browser."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import axe_core_python
import joblib
import pytest

import analysis
from analysis.report import _page, main, provenance, write_report
from analysis.verdicts import judge
from tests.sample_run import DIGITS, SampleRun

pytestmark = pytest.mark.slow  # each writes whole reports, some open a browser

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = tuple(f"{NASTY}{digit}" for digit in DIGITS)
    run = SampleRun(spaces=("resnet",), classes=classes).write(tmp_path_factory.mktemp("report") / "run")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def page(run_dir: Path) -> str:
    return (run_dir / "report" / "report.html").read_text(encoding="utf-8")


def hashes(run_dir: Path) -> dict[str, str]:
    files = sorted((run_dir / "report").rglob("*.*"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_name_is_escaped(page: str) -> None:
    assert NASTY not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>out of memory" not in page
    assert page.count("<script>") == 1


def test_the_page_needs_no_network(page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\((?!%23)", page)  # within an image: a part of the same image
    assert "@import" not in page
    assert len(page) < 2_000_000


def test_every_figure_has_number_caption_alternative_and_data(page: str, run_dir: Path) -> None:
    names = re.findall(r'<figure id="([\w-]+)">', page)
    numbers = [int(number) for number in re.findall(r"<b>Figure (\d+)\.</b>", page)]
    assert numbers == list(range(1, len(names) + 1))
    assert page.count("<figcaption>") == len(names) == len(re.findall(r'<img [^>]*alt="[^"]{20,}"', page))
    for name in names:
        for kind in ("svg", "png", "pdf", "csv"):
            assert (run_dir / "report" / "figures" / f"{name}.{kind}").stat().st_size > 0
    assert not list((run_dir / "report").rglob("*.part"))


def test_the_summary_comes_first_and_states_n(page: str) -> None:
    text = page.replace("\N{NO-BREAK SPACE}", " ")
    parts = ["Summary", 'class="verdict"', 'id="table-overview"', "Contents", 'id="table-worth"', "<figure"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert re.search(r"95 % interval \d+\.\d % to \d+\.\d %, n = 4 seeds", text)
    assert "1 opening" in text


def test_the_audit_stands_last_and_knows_the_figures_beside_it(page: str) -> None:
    section = page[page.index('<section id="audit">') :]
    assert page.rindex("<section") == page.index('<section id="audit">')
    assert re.search(r"<b>19 checks: \d+ FAIL, \d+ WARN, \d+ NOT TESTABLE, \d+ PASS\.</b>", section)
    drawn = re.search(r"<tr>(?:(?!</tr>).)*>10 Every hyperparameter drawn<(?:(?!</tr>).)*</tr>", section)
    assert drawn is not None
    assert ">PASS<" in drawn[0]


def test_the_audits_outcome_stands_under_the_headline(page: str) -> None:
    under = page[page.index('class="verdict"') : page.index('id="table-overview"')]
    (said,) = re.findall(r'<a href="#audit">Audit: (.*)</a>', under)
    assert re.fullmatch(r"([1-9]\d* (FAIL|WARN|NOT TESTABLE|PASS)(, )?)+", said)
    counted = re.search(r"<b>19 checks: (.*)\.</b>", page)
    assert counted is not None
    assert said == ", ".join(part for part in counted[1].split(", ") if not part.startswith("0 "))


def test_the_provenance_says_where_the_images_went(tmp_path: Path) -> None:
    tables = analysis.read(SampleRun(trials=0).write(tmp_path / "run"))
    assert not {"Test split", "Image size", "Left out"} & dict(provenance(tables)).keys()
    skipped = [{"file": f"{at}.jpg", "reason": "torn"} for at in range(7)]
    source = "/photos; test: the last 20 % of each class in name order"
    tables.plan["dataset"] |= {"source": source, "image_size": [32, 48], "skipped": skipped}
    rows = dict(provenance(tables))
    assert rows["Data"] == ["digits: /photos"]
    assert rows["Test split"] == ["the last 20 % of each class in name order"]
    assert rows["Image size"] == ["resized to 32x48 pixels"]
    (said,) = rows["Left out"]
    assert said.startswith("7\N{NO-BREAK SPACE}files: 0.jpg (torn), 1.jpg (torn), ")
    assert said.endswith("4.jpg (torn) and 2 more")


def test_the_same_run_gives_the_same_bytes_however_many_processes_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SampleRun(spaces=("resnet",), trials=2, final=False).write(tmp_path / "run")
    write_report(run)
    first = hashes(run)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    write_report(run)
    joblib.externals.loky.get_reusable_executor().shutdown()
    assert hashes(run) == first


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"trials": 0, "final": False}, "No trial yet."),
        ({"trials": 3, "all_failed": True}, "so there is no winner"),
        ({"trials": 2, "final": False, "closed": False, "accidents": False}, "Still running"),
    ],
)
def test_awkward_studies_have_a_report(tmp_path: Path, knobs: dict[str, Any], says: str) -> None:
    run = SampleRun(spaces=("resnet",), **knobs).write(tmp_path / "run")
    text = write_report(run).read_text(encoding="utf-8")
    assert says in text
    assert "No final run yet" in text


def test_a_page_of_many_spaces_opens_with_one_sentence_and_a_table(tmp_path: Path) -> None:
    spaces = ("resnet", "densenet", "plain", "lenet")
    tables = analysis.read(SampleRun(spaces=spaces, trials=2, seeds=2, accidents=False).write(tmp_path / "run"))
    text = _page(tables, [], judge(tables)).decode()  # without figures, of which there would be 50
    assert text.count('class="verdict"') == 1
    summary = text[text.index('id="summary"') : text.index("<nav")]
    assert summary.count("cannot tell") == 0
    assert summary.count("<tr>") == 1 + len(spaces)
    pairs = text[text.index('id="table-pairs"') : text.index('id="worth"')]
    assert pairs.count("<tr>") == 1 + 6


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = SampleRun(trials=0).write(tmp_path / "run")
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report" / "report.html")
    assert main([str(run), "--margin", "0"]) == 2
    assert "above 0" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "study.json" in capsys.readouterr().err


@pytest.fixture
def browser(tmp_path: Path) -> Iterator["WebDriver"]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    headless = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    )
    for argument in (*headless, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as opened:
        opened.set_script_timeout(300)  # axe asks for longer than the usual 30 s where the machine is busy
        yield opened


def test_in_a_browser(browser: "WebDriver", run_dir: Path) -> None:
    browser.get((run_dir / "report" / "report.html").as_uri())
    log: list[dict[str, Any]] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    requests = re.findall(
        r'"Network\.requestWillBeSent".*?"request":\{.*?"url":"(\w+):', "\n".join(e["message"] for e in log)
    )
    assert "file" in requests
    assert set(requests) <= {"file", "data", "chrome"}  # chrome: the browser's own first tab
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    images = "return [...document.images].every(image => image.complete && image.naturalWidth > 100)"
    assert browser.execute_script(images)
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert browser.execute_script(fits)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    assert browser.execute_script(background) != light


def test_no_rule_of_axe_is_broken(browser: "WebDriver", run_dir: Path) -> None:
    """Serious and critical ones, with what is folded unfolded: colours of what is hidden cannot be judged."""
    rules = Path(str(axe_core_python.__file__)).with_name("axe.min.js").read_text(encoding="utf-8")
    browser.get((run_dir / "report" / "report.html").as_uri())
    browser.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    browser.execute_script(rules)
    found, checked = [], 0
    for width, scheme in product((1280, 390), ("light", "dark")):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        said = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        checked += len(said["passes"])
        found += [
            (width, scheme, broken["id"], broken["nodes"][0]["html"])
            for broken in said["violations"]
            if broken["impact"] in ("serious", "critical")
        ]
    assert found == []
    assert checked > 100


def test_everything_that_acts_is_reached_by_keys_and_seen_there(browser: "WebDriver", run_dir: Path) -> None:
    browser.get((run_dir / "report" / "report.html").as_uri())
    acting = "[...document.querySelectorAll('a, button, summary, [tabindex]')]"
    browser.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    shown = "(e) => { e.focus({focusVisible: true}); const s = getComputedStyle(e);"
    shown += "return document.activeElement === e && s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 }"
    lost = browser.execute_script(f"return {acting}.filter(e => e.tabIndex < 0 || !({shown})(e)).map(e => e.outerHTML)")
    assert lost == []
    assert browser.execute_script(f"return {acting}.length") > 100
    scrolling = "e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'auto'"
    hidden = f"return [...document.body.querySelectorAll('*')].filter({scrolling}).filter(e => e.tabIndex !== 0).length"
    assert browser.execute_script(hidden) == 0


def test_tables_sort_with_what_is_missing_last(browser: "WebDriver", run_dir: Path) -> None:
    browser.get((run_dir / "report" / "report.html").as_uri())
    column = "const table = document.querySelector('#table-trials'), head = [...table.tHead.rows[0].cells];"
    column += "const at = head.findIndex(cell => cell.textContent === 'score');"
    read = "return [...table.tBodies[0].rows].map(row => row.cells[at].dataset.key ?? row.cells[at].textContent)"
    for expected in (True, False):
        keys = browser.execute_script(f"{column} head[at].querySelector('button').click(); {read}")
        known = [float(key) for key in keys if key]
        assert known == sorted(known, reverse=expected)
        assert keys[len(known) :] == [""] * (len(keys) - len(known))
        assert len(known) < len(keys)
