"""Checks a page in headless Chromium: overflow, contrast, overlapping texts."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

# A page that shows the inspected page in a frame, because a frame can be narrower than the smallest window.
_HARNESS = """<!doctype html><body style="margin:0"><iframe id="page" style="border:0;width:%dpx;height:900px"
srcdoc="%s"></iframe><pre id="found"></pre><script>
const frame = document.getElementById("page");
const channels = c => (c.match(/[\\d.]+/g) || []).map(Number);
const linear = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
};
const shared = (p, q, low, high) => Math.min(p[high], q[high]) - Math.max(p[low], q[low]);
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, found = {overflow: [], contrast: [], overlap: []};
  const behind = node => {
    for (; node; node = node.parentElement) {
      const c = channels(view.getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] > 0.5) return c;
    }
    return [255, 255, 255];
  };
  const shown = node => node.getClientRects().length > 0;
  if (page.documentElement.scrollWidth > page.documentElement.clientWidth) found.overflow.push("the page");
  let texts = 0;
  for (const node of page.body.querySelectorAll("*")) {
    const said = [...node.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("").trim();
    if (!said || node.tagName.toLowerCase() === "title" || !shown(node)) continue;
    texts += 1;
    const style = view.getComputedStyle(node), drawn = node.tagName.toLowerCase() === "text";
    const ratio = contrast(channels(drawn ? style.fill : style.color), behind(node));
    if (ratio < 4.5) found.contrast.push(said + ": " + ratio.toFixed(2));
    const box = node.getBoundingClientRect();
    const outside = box.left < -1 || box.right > page.documentElement.clientWidth + 1;
    if (outside && !node.closest(".scroll")) found.overflow.push(said);
  }
  for (const plot of page.querySelectorAll("svg.plot")) {
    if (!shown(plot)) continue;
    const boxes = [...plot.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
      if (shared(p, q, "left", "right") > 1 && shared(p, q, "top", "bottom") > 3) found.overlap.push(a + " / " + b);
    }));
  }
  found.texts = texts;
  found.dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>"""


def inspect_page(page: str, folder: Path, *, width: int, scheme: Literal["light", "dark"]) -> dict[str, object]:
    """The page's defects by kind, at that width and in that scheme, and the number of texts that were checked."""
    assert CHROMIUM is not None
    # The page's policy forbids scripts in it, but not in the page around its frame.
    harness = folder / f"harness-{width}-{scheme}.html"
    harness.write_text(_HARNESS % (width, html.escape(page, quote=True)), encoding="utf-8")
    answer = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            harness.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', answer.stdout, re.DOTALL)
    assert match, answer.stderr[-500:]
    found: dict[str, object] = json.loads(html.unescape(match[1]))
    return found
