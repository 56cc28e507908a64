"""Read Ray's dashboard the way a person does: a browser, the token in its dialog, a page, its text."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

DIALOG_INPUT = "[role=dialog] input"
FOLDED = ("Task Table", "Tasks History")  # closed when a job's or an actor's page opens
SCROLL_TO = """
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode())
        if (walk.currentNode.data.includes(arguments[0])) {
            walk.currentNode.parentElement.scrollIntoView({block: "center"});
            return;
        }
"""
ROWS_PER_PAGE = "200"  # tables start with 10 rows, sorted by id


def auth_token() -> str:
    """Return the token that guards the dashboard, as a user gets it: `ray get-auth-token`."""
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([ray, "get-auth-token"], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@contextmanager
def open_dashboard(url: str, token: str | None = None, timeout: float = 60) -> Iterator[WebDriver]:
    """Open the dashboard in headless Chromium, answer its token dialog, yield the browser, end it.

    `url` is what `ray.init(...).dashboard_url` gives, such as "127.0.0.1:8265".
    """
    with open_browser() as driver:
        driver.get(f"http://{url}/")
        wait = WebDriverWait(driver, timeout)
        box = wait.until(lambda d: d.find_element(By.CSS_SELECTOR, DIALOG_INPUT))
        box.send_keys(token or auth_token(), Keys.ENTER)
        wait.until(lambda d: not d.find_elements(By.CSS_SELECTOR, DIALOG_INPUT))
        yield driver


@contextmanager
def open_browser() -> Iterator[WebDriver]:
    """Start headless Chromium, yield it, end it."""
    options = ChromeOptions()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is not None:
        options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,2000"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def page_text(driver: WebDriver, page: str, needle: str, timeout: float = 60) -> str:
    """Open `page`, wait until its text holds `needle`, scroll to it, and return the text.

    `page` is a name in the page's menu ("overview", "actors", "cluster", "jobs"), an address below it
    ("jobs/01000000"), or "job": the page of the first job in the list, its task table unfolded.
    Raises TimeoutError, with the end of the text, when `needle` does not appear.
    """
    deadline = time.monotonic() + timeout
    _go(driver, "jobs" if page == "job" else page)
    if page == "job":
        _go(driver, _first_job(driver, deadline))
    opened: set[str] = set()
    text = ""
    while time.monotonic() < deadline:
        try:
            _unfold(driver, opened)
            text = driver.find_element(By.TAG_NAME, "body").text
        except WebDriverException:  # the page re-drew itself under our hands: look again
            text = ""
        if needle in text:
            driver.execute_script(SCROLL_TO, needle)
            return text
        time.sleep(0.5)
    raise TimeoutError(f"{needle!r} not on {driver.current_url} after {timeout:g} s; it ends: {text[-800:]}")


def save_screenshot(driver: WebDriver, path: Path) -> None:
    """Write what the browser shows as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not driver.save_screenshot(str(path)):
        raise OSError(f"could not write {path}")


def _go(driver: WebDriver, page: str) -> None:
    """Change the page behind the address's # and load it afresh, so that nothing is left from before."""
    driver.get(f"{driver.current_url.split('#')[0]}#/{page}")
    driver.refresh()


def _first_job(driver: WebDriver, deadline: float) -> str:
    """Return the address ("jobs/01000000") of the first job in the list of jobs."""
    while time.monotonic() < deadline:
        found = re.search(r'href="#/(jobs/[0-9a-zA-Z_-]+)"', driver.page_source)
        if found:
            return found.group(1)
        time.sleep(0.5)
    raise TimeoutError(f"no job on {driver.current_url}")


def _unfold(driver: WebDriver, opened: set[str]) -> None:
    """Click each folded section's title once, then ask its table for more rows."""
    for title in FOLDED:
        if title not in opened:
            for head in driver.find_elements(By.XPATH, f"//h4[normalize-space(.)='{title}']"):
                head.click()
                opened.add(title)
    if "rows" not in opened:
        boxes = driver.find_elements(By.XPATH, "//label[normalize-space(.)='Page Size']/following-sibling::div/input")
        for box in boxes:
            box.send_keys(Keys.CONTROL, "a")
            box.send_keys(ROWS_PER_PAGE)
            opened.add("rows")
