"""Plans are pure: what happens, in which order, and the examples' own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from peers import ROOT, clean_environment

from xenrr.campaign.plan import plan_campaign, plan_lines
from xenrr.campaign.spec import load_campaign, make_campaign
from xenrr.errors import SpecError
from xenrr.lab.document import parse_document

EXAMPLES = {"table1.toml": 76, "table1-lab.toml": 24, "table1-lab-plain.toml": 12,
            "pair.toml": 20, "incast-100.toml": 6, "incast-100-lab.toml": 3,
            "all-to-all.toml": 18}
THREE = """\
repeats = 3
[target]
machine = "t"
[[machine]]
name = "t"
[[machine]]
name = "a"
[[machine]]
name = "b"
[[experiment]]
name = "both"
[[experiment]]
name = "solo"
mode = "alone"
[factors]
request = [1, 100]
"""


def planned(text):
    spec = make_campaign(parse_document(text, "c.toml"))
    return spec, plan_campaign(spec)


def test_experiments_cells_and_repeats():
    spec, plan = planned(THREE)
    assert len(plan.rounds) == len({one.key for one in plan.rounds}) == 3 * 3 * 2
    assert Counter(one.experiment for one in plan.rounds) == {
        "both": 6, "solo/a": 6, "solo/b": 6}
    assert {one.test.request_bytes for one in plan.rounds} == {1, 100}
    assert plan.measuring_s == 18 * 10.0
    # Each repeat is over before the next begins, each in an order of its own.
    repeats = [one.repeat for one in plan.rounds]
    assert repeats == sorted(repeats)
    blocks = [[one.key.rpartition("|")[0] for one in plan.rounds if one.repeat == repeat]
              for repeat in (1, 2, 3)]
    assert sorted(blocks[0]) == sorted(blocks[1]) == sorted(blocks[2])
    assert len({tuple(block) for block in blocks}) > 1
    assert plan_campaign(spec) == plan


def test_the_seed_is_the_order():
    spec, plan = planned("seed = 2\n" + THREE)
    _, other = planned("seed = 3\n" + THREE)
    _, declared = planned('order = "declared"\n' + THREE)
    assert plan.rounds != other.rounds
    assert {one.key for one in plan.rounds} == {one.key for one in other.rounds}
    assert [one.experiment for one in declared.rounds[:3]] == ["both", "both", "solo/a"]
    assert "seed 2" in "\n".join(plan_lines(spec, plan))


def test_a_matrix_is_every_ordered_pair():
    _, plan = planned(THREE.replace('mode = "alone"', 'mode = "matrix"').replace(
        "repeats = 3", "repeats = 1").replace("[factors]\nrequest = [1, 100]\n", ""))
    pairs = [(one.senders, one.target.machine) for one in plan.rounds
             if one.experiment != "both"]
    assert len(pairs) == 6
    assert all(senders != (target,) for senders, target in pairs)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_can_be_run_dry(name):
    done = subprocess.run(
        [sys.executable, "-m", "xenrr", "campaign", "run", f"examples/{name}", "--dry-run"],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60,
        env=clean_environment(PYTHONIOENCODING="utf-8"))
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^ +\d+  ", done.stdout, re.MULTILINE)) == EXAMPLES[name]
    assert "of measuring, about" in done.stdout
    spec = load_campaign(str(ROOT / "examples" / name))
    assert done.stdout.splitlines() == list(plan_lines(spec, plan_campaign(spec)))


def test_no_example_of_a_campaign_is_forgotten():
    names = {path.name for path in (ROOT / "examples").glob("*.toml")
             if not path.name.startswith("lab-")}
    assert names == set(EXAMPLES)


def test_the_study_s_experiments():
    spec = load_campaign(str(ROOT / "examples/table1.toml"))
    assert [len(one.senders) for one in spec.experiments] == [12, 11, 8, 6, 12]
    assert spec.experiments[-1].mode == "alone"
    emulated = load_campaign(str(ROOT / "examples/table1-lab.toml"))
    assert [one.senders for one in emulated.experiments] == [
        one.senders for one in spec.experiments]
    plain = load_campaign(str(ROOT / "examples/table1-lab-plain.toml"))
    assert plain.experiments == emulated.experiments[:4]


def test_experiments_with_repeats_of_their_own_and_some_alone():
    spec, plan = planned(THREE.replace('mode = "alone"', 'mode = "alone"\nrepeats = 1'))
    assert Counter(one.experiment for one in plan.rounds) == {
        "both": 6, "solo/a": 2, "solo/b": 2}
    assert {one.repeat for one in plan.rounds if one.experiment != "both"} == {1}
    assert Counter(one.experiment for one in plan_campaign(spec.only(["solo"])).rounds) == {
        "solo/a": 2, "solo/b": 2}
    assert len(plan_campaign(spec.shortened(repeats=1)).rounds) == 6
    with pytest.raises(SpecError, match="no experiment 'none'"):
        spec.only(["both", "none"])


def test_a_plan_as_json():
    done = subprocess.run(
        [sys.executable, "-m", "xenrr", "campaign", "run", "examples/pair.toml", "--dry-run",
         "--json", "--repeats", "1"], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env=clean_environment())
    assert len(json.loads(done.stdout)["rounds"]) == 4
