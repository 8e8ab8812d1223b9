"""Take the pictures in this folder from a running UI: `python docs/take_pictures.py URL`.

Opens the demo's UI in a headless Chromium, materializes one table by its button, and keeps what a
person sees: the lineage, the run, and the receipt on the asset's page.
"""

from __future__ import annotations

import sys
import tempfile
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
    "--window-size=1600,1000",
)


class Browser:
    """A Chromium on the Dagster UI."""

    def __init__(self, url: str, profile: str) -> None:
        options = webdriver.ChromeOptions()
        for switch in (*SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        self.driver = webdriver.Chrome(options=options)
        self.url = url.rstrip("/")

    def open(self, path: str, text: str) -> None:
        """Open a page and wait until it shows a text."""
        self.driver.get(f"{self.url}/{path}")
        self.see(text)

    def see(self, text: str) -> WebElement:
        """Wait for a text to be on the page."""
        place = (By.XPATH, f"//*[contains(text(), {text!r})]")
        return WebDriverWait(self.driver, PATIENCE).until(expected.presence_of_element_located(place))

    def click(self, label: str) -> None:
        """Press the button with this label."""
        place = (By.XPATH, f"//button[contains(., {label!r})]")
        WebDriverWait(self.driver, PATIENCE).until(expected.element_to_be_clickable(place)).click()

    def keep(self, name: str) -> None:
        """Save what the window shows."""
        self.driver.save_screenshot(str(HERE / f"{name}.png"))


def main(url: str) -> None:
    """Take every picture."""
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(url, profile)
        try:
            browser.open("asset-groups", "sym_company")
            browser.keep("lineage")
            browser.open(f"assets/{ASSET}", "Materialize")
            browser.click("Materialize")
            browser.see("Launched run")
            browser.keep("materialize")
        finally:
            browser.driver.quit()


if __name__ == "__main__":
    main(sys.argv[1])
