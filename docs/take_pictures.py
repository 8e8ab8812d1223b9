"""Take the pictures in this folder from a running UI: `python docs/take_pictures.py URL`.

Opens the demo's UI in a headless Chromium, materializes one table by its button, waits for the
run, and keeps what a person sees: the lineage, the run, and the receipt on the asset's page.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

HERE = Path(__file__).parent
PATIENCE = 90
ASSET = "target/sym_v1/sym_ticker_exchange"
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """A Chromium on the Dagster UI."""

    def __init__(self, url: str, profile: str) -> None:
        options = webdriver.ChromeOptions()
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        # Selenium would otherwise ask the network which driver fits.
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.wait = WebDriverWait(self.driver, PATIENCE)
        self.url = url.rstrip("/")

    def open(self, path: str, *texts: str, width: int = 1500, height: int = 900) -> None:
        """Open a page in a window of this size, and wait until it shows these texts."""
        self.driver.set_window_size(width, height)
        self.driver.get(f"{self.url}/{path}")
        for text in texts:
            self.see(text)

    def see(self, text: str) -> WebElement:
        """Wait for a text to be on the page."""
        place = (By.XPATH, f"//*[contains(text(), {text!r})]")
        return self.wait.until(expected.presence_of_element_located(place))

    def gone(self, text: str) -> None:
        """Wait for a text to leave the page."""
        place = (By.XPATH, f"//*[contains(text(), {text!r})]")
        self.wait.until(expected.invisibility_of_element_located(place))

    def click(self, label: str) -> None:
        """Press the button or link with this label."""
        place = (By.XPATH, f"//button[contains(., {label!r})] | //a[contains(., {label!r})]")
        self.wait.until(expected.element_to_be_clickable(place)).click()

    def keep(self, name: str, show: str | None = None) -> None:
        """Save what the window shows, scrolled to a text."""
        if show:
            self.driver.execute_script("arguments[0].scrollIntoView()", self.see(show))
        time.sleep(1.5)  # the page fades in what it has loaded
        self.driver.save_screenshot(str(HERE / f"{name}.png"))


def main(url: str) -> None:
    """Take every picture."""
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(url, profile)
        try:
            browser.open("asset-groups", "sym_company", height=1200)
            browser.gone("Loading")
            browser.keep("lineage")
            browser.open(f"assets/{ASSET}", "Materialize")
            browser.click("Materialize")
            browser.see("Launched run")
            browser.click("View")
            browser.see("RUN_SUCCESS")
            browser.keep("run")
            browser.open(f"assets/{ASSET}", "sync/source_max_xmin", height=1800)
            browser.keep("receipt", show="Metadata")
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main(sys.argv[1])
