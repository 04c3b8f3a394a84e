"""Which engine is loaded, and what is said when none is."""

from __future__ import annotations

import sys

import pytest

from xenrr.engine.hot import LAYOUT, SPEC, TALLY, is_current
from xenrr.engine.load import load_engine
from xenrr.errors import EngineUnavailable


@pytest.fixture(autouse=True)
def no_default(monkeypatch):
    monkeypatch.delenv("XENRR_ENGINE", raising=False)


@pytest.fixture
def no_extension(monkeypatch):
    """The extension module is not there."""
    monkeypatch.setitem(sys.modules, "xenrr.engine._hot", None)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "xenrr-no-such-compiler")


def test_pure_is_always_there():
    assert load_engine("pure").name == "pure"


@pytest.mark.c_engine
def test_hot_and_auto_are_the_c_engine():
    assert load_engine("hot").name == "hot"
    assert load_engine("auto").name == "hot"
    assert load_engine().name == "hot"


@pytest.mark.c_engine
def test_without_the_extension_a_shared_object_is_built(no_extension, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = load_engine("hot")
    assert (engine.name, engine.loaded_as) == ("hot", "ctypes")
    assert len(list((tmp_path / "xenrr").iterdir())) == 1
    assert load_engine("auto").loaded_as == "ctypes"


@pytest.fixture
def extension(monkeypatch):
    """An extension module as one that was just built says that it is."""
    class Module:
        loaded_as = "extension"
        spec_bytes, tally_bytes, layout = SPEC.size, TALLY.size, LAYOUT

    monkeypatch.setitem(sys.modules, "xenrr.engine._hot", Module)
    monkeypatch.setattr("xenrr.engine._hot", Module, raising=False)
    return Module


def test_the_extension_comes_first(extension, no_compiler):
    assert load_engine("hot").loaded_as == "extension"
    assert load_engine("auto").loaded_as == "extension"


@pytest.mark.parametrize("change", [
    {"spec_bytes": SPEC.size - 8}, {"tally_bytes": TALLY.size + 8}, {"layout": LAYOUT ^ 1},
    {"spec_bytes": None, "tally_bytes": None, "layout": None}], ids=str)
def test_an_extension_of_other_sources_is_passed_over(extension, no_compiler, change):
    for name, value in change.items():
        if value is None:
            delattr(extension, name)
        else:
            setattr(extension, name, value)
    with pytest.raises(EngineUnavailable, match="built from other sources") as caught:
        load_engine("hot")
    assert "pip install -e ." in str(caught.value)
    assert load_engine("auto").name == "pure"


@pytest.mark.c_engine
def test_where_there_is_a_compiler_it_stands_in_for_an_old_extension(extension, monkeypatch,
                                                                     tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    extension.layout = LAYOUT ^ 1
    assert load_engine("hot").loaded_as == "ctypes"


@pytest.mark.c_engine
def test_the_extension_that_is_here_is_current():
    _hot = pytest.importorskip("xenrr.engine._hot", reason="only built as a shared object")
    assert is_current(_hot)


def test_a_forced_engine_is_never_replaced(no_extension, no_compiler):
    with pytest.raises(EngineUnavailable) as caught:
        load_engine("hot")
    assert "xenrr-no-such-compiler" in str(caught.value)
    assert "_hot" in str(caught.value)


def test_auto_falls_back_to_pure(no_extension, no_compiler):
    assert load_engine("auto").name == "pure"


def test_the_environment_decides_for_auto_alone(monkeypatch, no_extension, no_compiler):
    monkeypatch.setenv("XENRR_ENGINE", "hot")
    with pytest.raises(EngineUnavailable):
        load_engine("auto")
    assert load_engine("pure").name == "pure"
    monkeypatch.setenv("XENRR_ENGINE", "pure")
    assert load_engine("auto").name == "pure"
    with pytest.raises(EngineUnavailable):
        load_engine("hot")
    monkeypatch.setenv("XENRR_ENGINE", "")
    assert load_engine("auto").name == "pure"


@pytest.mark.parametrize("wanted", ["fast", "", "Hot", "hot "])
def test_an_unknown_engine_names_the_choices(monkeypatch, wanted):
    with pytest.raises(EngineUnavailable, match="auto, hot, pure"):
        load_engine(wanted)
    if wanted:
        monkeypatch.setenv("XENRR_ENGINE", wanted)
        with pytest.raises(EngineUnavailable, match="auto, hot, pure"):
            load_engine("auto")


def test_a_python_without_ctypes(monkeypatch, no_extension):
    monkeypatch.setitem(sys.modules, "xenrr.engine.shared", None)
    with pytest.raises(EngineUnavailable, match="does not load"):
        load_engine("hot")
    assert load_engine("auto").name == "pure"
