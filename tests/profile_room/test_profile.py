"""The command and its JSON, which is an interface; measuring is done on one small graph."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from leanformer.cli.app import main
from leanformer.config import ModelConfig
from leanformer.config_toml import to_toml
from leanformer.profile import graphs as graphs_module
from leanformer.train.recipe import ContextConfig, Recipe

KEYS = {
    "name",
    "parameters",
    "weight_bytes",
    "macs_per_second",
    "state_bytes",
    "traffic_bytes_per_second",
    "energy_mj_per_second",
    "latency_ms",
    "components",
}


@pytest.fixture
def recipe(tmp_path: Path, mixed: ModelConfig) -> Path:
    return write(tmp_path, "mixed", mixed)


@pytest.fixture
def cascade_recipe(tmp_path: Path, cascade: ModelConfig) -> Path:
    return write(tmp_path, "cascade", cascade)


def write(folder: Path, name: str, model: ModelConfig) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(to_toml(Recipe(name=name, model=model, context=ContextConfig(dev_left_context=6))))
    return path


@pytest.fixture
def without_tracing(
    monkeypatch: pytest.MonkeyPatch, graphs: dict[str, bytes], second_graphs: dict[str, bytes]
) -> None:
    monkeypatch.setattr(graphs_module, "export_random", lambda *arguments: graphs)
    monkeypatch.setattr(graphs_module, "export_second", lambda *arguments: second_graphs)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert main(["profile", *map(str, arguments), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("without_tracing")
def test_measured_json(capsys: pytest.CaptureFixture[str], recipe: Path, cascade_recipe: Path) -> None:
    found = run(capsys, cascade_recipe, "--chunk-ms", 320, "--rounds", 3, "--against", recipe)
    other = found["against"]
    passes = [*found["passes"], *other["passes"]]  # type: ignore[index, misc]
    assert len(passes) == 3
    for one in (found, other, *passes):
        assert one.keys() >= KEYS  # type: ignore[attr-defined]
        for kind in ("fp32", "int8"):
            latency = one["latency_ms"][kind]  # type: ignore[index]
            assert 0 < latency["p50"] <= latency["p95"]
            details = one["by_precision"][kind]  # type: ignore[index]
            assert 0 < details["norm_and_activation_share"] < 1
            assert sum(details["time_shares"].values()) == pytest.approx(1.0)
            assert "normalisation" not in details["time_shares"]
            assert 0 < details["peak_memory_before_loading_bytes"] <= details["peak_memory_bytes"]
            assert details["share_of_machine_limit"] > 0
    assert found["latency_ms"] == passes[0]["latency_ms"]
    busy = [one["by_precision"]["int8"]["real_time_factor"] for one in (found, *passes)]  # type: ignore[index]
    assert busy[0] == pytest.approx(busy[1] + busy[2])
    assert busy[2] == pytest.approx(passes[1]["latency_ms"]["int8"]["p50"] / 160, rel=0.01)
    machine = found["machine"]
    assert machine["int8_macs_per_second"] > 0  # type: ignore[index]
    assert machine["memory_bytes_per_second"] > 0  # type: ignore[index]
    assert 0.2 < found["times_faster"]["int8"] < 5  # type: ignore[index]  # the same graph


def test_counted_json(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    found = run(capsys, recipe, "--rounds", 0)
    assert found.keys() >= KEYS
    assert found["name"] == "mixed"
    assert found["chunk_ms"] == 640
    assert found["left_context_frames"] == 6
    assert found["latency_ms"] is None
    components = found["components"].values()  # type: ignore[attr-defined]
    for key in (
        "parameters",
        "macs_per_second",
        "state_bytes",
        "energy_mj_per_second",
        "traffic_bytes_per_second",
    ):
        assert sum(one[key] for one in components) == pytest.approx(found[key]), key
    assert sum(one["energy_share"] for one in components) == pytest.approx(1.0)
    assert set(found["weight_bytes"]) == {"fp32", "int8"}  # type: ignore[call-overload]


def test_constants_are_replaceable(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    free = [f"{name}=0" for name in ("dram_pj_per_byte", "sram_pj_per_byte", "int8_mac_pj", "fp32_mac_pj")]
    assert run(capsys, recipe, "--rounds", 0, "--energy", *free[:-1])["energy_mj_per_second"] > 0  # type: ignore[operator]
    found = run(capsys, recipe, "--rounds", 0, "--energy", *free, "sram_bytes=1000")
    assert found["energy_model"]["sram_bytes"] == 1000  # type: ignore[index]
    assert found["energy_mj_per_second"] == 0


def test_against_plain(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "lean-tiny", "--rounds", 0, "--against", "plain")
    assert found["against"]["name"] == "lean-tiny-plain"  # type: ignore[index]
    assert found["parameters"] < found["against"]["parameters"]  # type: ignore[index]


def test_the_default_bundle_is_counted_from_its_config(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "default", "--rounds", 0)
    folder = Path(graphs_module.__file__).parents[1] / "models" / "default"
    graphs = sum(graph.stat().st_size for graph in folder.glob("*.int8.onnx"))
    assert found["weight_bytes"]["int8"] == pytest.approx(graphs, rel=0.05)  # type: ignore[index]


def test_shallow(capsys: pytest.CaptureFixture[str]) -> None:
    deep, cut = (
        run(capsys, "layer-consistency-tiny", "--rounds", 0, *more) for more in ((), ("--depth", "3"))
    )
    assert cut["name"] == "layer-consistency-tiny at depth 3"
    assert cut["parameters"] == deep["parameters"]
    assert cut["macs_per_second"] < 0.6 * deep["macs_per_second"]  # type: ignore[operator]


def test_tables(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    assert main(["profile", str(recipe), "--rounds", "0", "--against", "lean-tiny"]) == 0
    out = capsys.readouterr().out
    assert "modelled energy" in out
    assert "feed forward" in out
    assert out.count("steps a second of audio") == 1  # of lean-tiny, which has two passes


def test_a_first_pass_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, "lean-tiny-first", "--rounds", 0, "--against", "plain")
    assert found["against"]["name"] == "lean-tiny-plain"  # type: ignore[index]
    assert [one["name"] for one in found["passes"]] == ["first"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("without_tracing")
def test_plot(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "it.svg"
    arguments = ["profile", str(recipe), "--against", str(recipe), "--chunk-ms", "320", "--rounds", "2"]
    assert main([*arguments, "--plot", str(target)]) == 0
    assert "faster, turn by turn: fp32 " in capsys.readouterr().out
    assert target.read_text().lstrip().startswith("<?xml")
    assert main(["profile", str(recipe), "--rounds", "0", "--plot", str(tmp_path / "it.qqq")]) == 1
    assert "it.qqq: cannot write the picture" in capsys.readouterr().err


def test_a_plot_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["profile", str(recipe), "--plot", "it.png"]) == 1
    assert "pip install 'leanformer[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("lean-tny",), 1, "no preset 'lean-tny'; did you mean 'lean-tiny'? (a recipe ends in .toml"),
        (("nowhere.toml",), 1, "nowhere.toml: no such file"),
        (("lean-tiny", "--chunk-ms", "50"), 1, "lean-tiny takes multiples of 40 ms"),
        (("lean-tiny", "--energy", "x=1"), 1, "the names are dram_pj_per_byte, "),
        (("lean-tiny", "--energy", "int8_mac_pj=a"), 1, "'a' is no number"),
        (("lean-tiny", "--depth", "9"), 1, "--depth 9: "),
        (("default", "--depth", "2"), 1, "runs at depth 9; choose one of these"),
        (("default", "--against", "plain"), 2, "only a preset has a plain Conformer"),
        ((".",), 1, "manifest.json"),
    ],
)  # fmt: skip
def test_errors(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert main(["profile", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_presets_lists_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from leanformer.cli import presets as presets_module

    chosen = ("conformer-tiny", "lean-tiny")
    monkeypatch.setattr(presets_module, "_names", lambda: chosen)
    assert main(["presets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert tuple(row["name"] for row in rows) == chosen
    assert all(row["parameters"] > 0 and row["weight_bytes"]["int8"] > 0 for row in rows)
    conformer, lean = rows
    assert [len(row["passes"]) for row in rows] == [1, 2]
    assert conformer["macs_per_second"] == conformer["passes"][0]["macs_per_second"]
    assert lean["macs_per_second"] == sum(one["macs_per_second"] for one in lean["passes"])
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    assert "all four at once" in out
    sizes = [f"{one['parameters'] / 1e6:.2f}" for one in lean["passes"]]
    assert " + ".join(sizes) in out
