"""Takes a section of a run's report as a picture, for the README.

    autocomp search --model resnet20 --weights W --data cifar10:PATH --budget size=5% \
        --agent ddpg --evaluations 100 --out runs/readme
    python benchmarks/readme_plot.py runs/readme --out docs/report.png

Needs selenium and Debian's packages chromium and chromium-driver. `--part` names the section.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def main() -> None:
    """Opens the report, draws everything, and takes the picture."""
    parser = argparse.ArgumentParser(description="A picture of a report's section.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", default="plan", help="plan, search, front, curves, policy, ...")
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "report.png")
    given = parser.parse_args()
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        sys.exit("A picture needs chromium and chromedriver; install Debian's packages.")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={given.width},5000"):
            options.add_argument(flag)
        chrome = webdriver.Chrome(options=options, service=Service(driver))
        try:
            chrome.get((given.run / "report.html").resolve().as_uri())
            chrome.execute_script("window.__drawAll()")
            time.sleep(2)
            section = chrome.find_element("css selector", f"section#{given.part}")
            section.screenshot(str(given.out))
        finally:
            chrome.quit()
    print(f"{given.out}, {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
