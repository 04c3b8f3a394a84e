"""What a person meets first: README, make, the version, the public names."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from peers import ROOT, clean_environment

import xenrr
from xenrr import errors


def test_readme_shows_commands_that_make_knows():
    helped = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True,
                            check=True, env=clean_environment(MAKEFLAGS="")).stdout
    known = set(re.findall(r"^make (\w+)", helped, re.MULTILINE))
    assert {"help", "demo", "test", "check", "bench", "clean"} <= known
    shown = set(re.findall(r"make (\w+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= shown <= known


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


@pytest.mark.parametrize("page", sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    missing = [link for link in links
               if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert missing == []


def test_every_error_code_is_explained():
    explained = re.findall(r"^\| `([\w-]+)` \| `(\w+)`",
                           (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(
        (getattr(errors, name).code, name) for name in errors.__all__)


@pytest.mark.parametrize(("page", "helps"), [
    ("client.md", ("CLIENT", "CLIENT_TEST", "CLIENT_CLASSIC")), ("server.md", ("SERVER",))])
def test_the_reference_has_every_option_of_the_help(page, helps):
    from xenrr.netperf import usage

    helped = {option for name in helps
              for line in getattr(usage, name).splitlines()
              for option in re.findall(r"(?<![\w-])--?[A-Za-z0-9]\w*", line[:22])}
    shown = set(re.findall(r"`(--?\w+)", (ROOT / "docs/reference" / page).read_text()))
    assert len(helped) > 10
    assert helped <= shown


def test_changelog_knows_the_version():
    assert f"## {xenrr.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_public_names_are_the_real_ones():
    from xenrr.results.record import Run
    from xenrr.session.library import measure

    assert xenrr.Run is Run
    assert xenrr.measure is measure
    assert xenrr.PeerRefused is errors.PeerRefused
    assert set(xenrr.__all__) <= set(dir(xenrr))
    assert set(errors.__all__) <= set(xenrr.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        xenrr.nonsense  # noqa: B018


def test_the_version_is_printed():
    done = subprocess.run([sys.executable, "-m", "xenrr", "--version"], capture_output=True,
                          text=True, env=clean_environment(), timeout=30)
    assert (done.returncode, done.stdout) == (0, f"xenrr {xenrr.__version__}\n")
