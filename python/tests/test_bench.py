# SPDX-License-Identifier: MIT
"""The benchmark of PyTorch models: that they are the known ones, and that its tables hold together."""

import json
import warnings

import pytest

torch = pytest.importorskip("torch")

import bnorm.torch  # noqa: E402
from bnorm.bench.__main__ import main  # noqa: E402
from bnorm.bench.models import MODELS  # noqa: E402

PARAMETERS = {"resnet50": 25_557_032, "mobilenet_v2": 3_504_872, "densenet121": 7_978_856, "efficientnet_b0": 5_288_548}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def on_meta(name):
    with torch.device("meta"):
        return MODELS[name].make()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_traceable(name):
    """By torch.fx, so that convert() fuses; no batch norm and ReLU are left side by side."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = bnorm.torch.convert(on_meta(name))
    modules = dict(model.named_modules())
    kinds = {node.name: type(modules[node.target]) for node in model.graph.nodes if node.op == "call_module"}
    pairs = {(kinds.get(node.all_input_nodes[0].name), kinds[node.name]) for node in model.graph.nodes if node.name in kinds}
    norms = bnorm.torch.BatchNorm1d, bnorm.torch.BatchNorm2d, bnorm.torch.BatchNorm3d
    assert any(kind in norms for kind in kinds.values())
    assert not any(first in norms and second in (torch.nn.ReLU, torch.nn.ReLU6) for first, second in pairs)


def test_main(capsys, tmp_path):
    main(["tcn", "--batch", "2", "--threads", "1", "--rounds", "1", "--profile", "--json", str(tmp_path / "rows.json")])
    told = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert told["head"]["torch"] == torch.__version__ and told["head"]["isa"] == bnorm.isa()
    assert [row["mode"] for row in told["rows"]] == ["train", "infer"]
    for row in told["rows"]:
        assert all(ms["median"] > 0 for ms in row["ms"].values()) and set(row["ms"]) == {"stock", "converted", "enabled"}
        assert set(row["ratio"]) == {"converted", "enabled"}
        assert all(ms["median"] > 0 for ms in row["batch_norm_ms"].values())
        assert list(row["loss"].values()) == pytest.approx([row["loss"]["stock"]] * 3, rel=1e-3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in lines] == 6 * [9] + 4 * [8]  # titles, rows and means, and those of the profile
    assert all(name in lines[0] for name in ("model", "layout", "dtype", "mode", "stock", "converted", "enabled", "losses"))


@pytest.mark.parametrize("wrong", [["alexnet"], ["--rounds", "0"], ["--batch", "1"], ["--dtype", "f64"]])
def test_refusals(wrong):
    with pytest.raises(SystemExit):
        main(wrong)


def test_channels_last_without_such_models(capsys):
    main(["tcn", "pointnet", "--layout", "channels_last"])
    assert "geometric mean" not in capsys.readouterr().out
