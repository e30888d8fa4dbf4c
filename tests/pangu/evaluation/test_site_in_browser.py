"""A real browser opens every page: hostile text runs nothing, and the strict policy blocks nothing of our own."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pangu.evaluation.dashboard.site import write_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

OWN = (
    '"><script>document.title="owned"</script><img src=x onerror="document.title=1">'
    "<svg onload=\"document.title='owned'\">"
)


def open_page(page: Path, profile: Path) -> tuple[str, str]:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={profile}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ended.stdout, ended.stderr


@pytest.mark.reliability(23)
def test_hostile_text_runs_nothing_in_chromium(tmp_path, build_content):
    for number, page in enumerate(write_site(tmp_path / "site", build_content(lambda: OWN))):
        is_night = page.name.startswith("night_metrics")
        if page.name not in ("index.html", "dataset.html", "evaluation.html", "compare.html") and not is_night:
            continue
        dom, log = open_page(page, tmp_path / f"profile{number}")
        title = re.search(r"<title>(.*?)</title>", dom, flags=re.S)
        assert title is not None and title.group(1) != "owned" and "&lt;script&gt;" in title.group(1)
        assert "CONSOLE" not in log, [line for line in log.splitlines() if "CONSOLE" in line]


def test_the_policy_blocks_nothing_of_ours(tmp_path, build_content):
    pages = write_site(tmp_path / "site", build_content(lambda: "words"))
    dom, log = open_page(pages[0], tmp_path / "profile")
    assert "CONSOLE" not in log and 'rel="stylesheet"' in dom
