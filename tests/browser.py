"""A real browser, and what it finds wrong with a page.

file ──opened──▶ page ──seen(page, width, scheme)──▶ [] or the faults, in words
          └─ whatever it asked for, ran, or complained of: page.told
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SETUP = Path(__file__).parents[1] / "deploy" / "setup.sh"
LIMIT_MS = 30_000
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
LEAST_LETTER_PX = 8.0  # of a plot that was shrunk to the width of a telephone

SEEN = """
([leastContrast, leastLetterPx]) => {
  const faults = [];
  const root = document.documentElement;
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.background = 'Canvas';
  const canvas = getComputedStyle(probe).backgroundColor;
  probe.remove();

  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const background = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }
    return canvas;
  };
  const inside = (box, outer) => box.left >= outer.left - 1 && box.right <= outer.right + 1
    && box.top >= outer.top - 1 && box.bottom <= outer.bottom + 1;

  for (const element of document.body.querySelectorAll('*')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.data).join('').trim();
    const box = element.getBoundingClientRect();
    const svg = element.closest('svg');
    if (!svg && box.right > root.clientWidth + 1) faults.push(`too wide: ${element.tagName}`);
    if (!text || element.closest('style, script')) continue;
    const style = getComputedStyle(element);
    const found = contrast(svg ? style.fill : style.color, background(element));
    if (found < leastContrast) faults.push(`contrast ${found.toFixed(1)}: ${text}`);
    if (!box.width || !box.height) faults.push(`not to be seen: ${text}`);
    if (svg && !inside(box, svg.getBoundingClientRect())) faults.push(`cut off: ${text}`);
    if (svg) {
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      const letterPx = parseFloat(style.fontSize) * scale;
      if (letterPx < leastLetterPx) faults.push(`letters of ${letterPx.toFixed(1)} px: ${text}`);
    }
  }
  if (root.scrollWidth > root.clientWidth) faults.push(`scrolls to ${root.scrollWidth} px`);
  for (const plot of document.querySelectorAll('svg, img')) {
    const box = plot.getBoundingClientRect();
    const name = plot.ariaLabel || plot.alt;
    if (!name) faults.push('a picture without a name');
    if (box.width < 100 || box.height < 50) faults.push(`an empty picture: ${name}`);
  }
  for (const cell of document.querySelectorAll('th')) {
    if (!cell.innerText.trim()) faults.push('a heading without a text');
  }
  if (!document.title) faults.push('no title');
  if (!root.lang) faults.push('no language');
  return faults;
}
"""


@dataclass
class Opened:
    """A page, and what it did on its own account while it was open."""

    page: Page
    faults: list[str] = field(default_factory=list)


def path_of_browser() -> str:
    """The Chromium of this machine, which ``make test`` installs.

    Skips the test if there is none; on continuous integration it fails instead.
    """
    found = subprocess.run([SETUP, "browser_path"], capture_output=True, text=True, timeout=30)
    if found.returncode:
        told = "needs a Chromium: deploy/setup.sh browser"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return found.stdout.strip()


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser with a profile of its own; it and what it started end with the block."""
    from playwright.sync_api import sync_playwright

    path = path_of_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, timeout=LIMIT_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path) -> Iterator[Opened]:
    """The file as a page that may ask for nothing else, say nothing and open no dialog."""
    with browser.new_context(offline=True) as context:
        context.set_default_timeout(LIMIT_MS)
        page = context.new_page()
        shown = Opened(page)
        address = path.as_uri()

        def asked(url: str) -> None:
            if url != address:
                shown.faults.append(f"asked for {url}")

        page.on("request", lambda request: asked(request.url))
        page.on("console", lambda message: shown.faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: shown.faults.append(f"error: {error.message}"))
        page.on("dialog", lambda dialog: (shown.faults.append("a dialog"), dialog.dismiss()))
        page.goto(address)
        yield shown


def seen(page: Page, width_px: int, scheme: str = "light", media: str = "screen") -> list[str]:
    """What is wrong to the eye at this width.

    Args:
        scheme: "light" or "dark".
        media: "screen" or "print".
    """
    page.set_viewport_size({"width": width_px, "height": 800})
    page.emulate_media(color_scheme=scheme, media=media)
    faults: list[str] = page.evaluate(SEEN, [LEAST_CONTRAST, LEAST_LETTER_PX])
    return faults
