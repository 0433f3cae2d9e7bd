# SPDX-License-Identifier: Apache-2.0
"""Networks by name: zoo, torchvision, timm, segmentation_models_pytorch and the user's own file."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path

import pytest
import torch

from gossamer.zoo.detectors import is_detector, load_detector, published_preprocess
from gossamer.zoo.models import check_model, load_model, usual_classes, usual_preprocess
from gossamer.zoo.own_code import load_callable

OWN = """
from torch import nn
from beside_it import WIDTH

def network(classes, width=WIDTH):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, classes))

def fixed():
    return nn.Linear(3, 2)

def wrong():
    return "a network"

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's file that imports a neighbour; what importing it leaves behind is undone."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    (tmp_path / "beside_it.py").write_text("WIDTH = 5\n")
    (tmp_path / "own_network.py").write_text(OWN)
    return str(tmp_path / "own_network.py")


def test_a_file_of_the_users_is_not_what_a_library_imports_later(tmp_path, monkeypatch):
    """As a folder with a coverage.py did to numba, which looks for a package of that name at its first use."""
    installed, own = tmp_path / "installed", tmp_path / "own"
    for folder, words in ((installed, "a package"), (own, "a file of the user's")):
        folder.mkdir()
        (folder / "looked_for_late.py").write_text(f"SAID = {words!r}\n")
    (own / "net.py").write_text("from looked_for_late import SAID\n\ndef network():\n    return SAID\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    monkeypatch.delitem(sys.modules, "looked_for_late", raising=False)
    assert load_callable(f"{own / 'net.py'}:network")() == "a file of the user's"
    monkeypatch.delitem(sys.modules, "looked_for_late")
    assert importlib.import_module("looked_for_late").SAID == "a package"
    monkeypatch.delitem(sys.modules, "looked_for_late")


def test_zoo() -> None:
    assert load_model("lenet300100", 4)(torch.zeros(2, 1, 28, 28)).shape == (2, 4)


def test_zoo_networks_have_options() -> None:
    narrow = load_model("unet:width=16,batch_norm=true", 1)
    assert sum(p.numel() for p in narrow.parameters()) == 1_942_577
    assert usual_classes("unet:width=16") == 1
    assert load_model("ternausnet11:width=16,batch_norm=true", 2)(torch.zeros(2, 3, 32, 32)).shape == (2, 2, 32, 32)
    half = load_detector("ssdlite224:width=0.5", 1)
    whole = load_detector("ssdlite224", 1)
    assert sum(p.numel() for p in half.parameters()) < 0.5 * sum(p.numel() for p in whole.parameters())
    assert is_detector("ssdlite224:width=0.5")
    known = published_preprocess("ssdlite224:width=0.5")
    assert known is not None
    assert known.size == (224, 224)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unet:widht=16", r"expected an option of unet \(width, batch_norm\), got 'widht'; did you mean width\?"),
        ("unet:batch_norm=yes", r"batch_norm of unet must be true or false, got 'yes'"),
        ("unet:width=wide", r"width of unet must be of type int, got 'wide'"),
        ("resnet20:depth=3", r"expected an option of resnet20 \(none\), got 'depth'"),
        ("ssdlite224:size=320", r"expected an option of ssdlite224 \(width\), got 'size'"),
    ],
)
def test_options_that_a_network_does_not_have_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model(spec)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_torchvision_for_pixels_downloads_nothing_and_gives_one_tensor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchvision")

    def download(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    model = load_model(f"torchvision:{name}", 3).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 64)).shape == (1, 3, 32, 64)
    fitted = model.fitted({"backbone.x": torch.zeros(1), "aux_classifier.0.weight": torch.zeros(1)})  # type: ignore
    assert list(fitted) == ["backbone.x"]


def test_encoders_of_segmentation_models_know_how_images_were_normalised() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    of_torchvision, of_timm = (
        usual_preprocess("smp:Unet/resnet18"),
        usual_preprocess("smp:unet/tu-vit_base_patch16_224"),
    )
    assert of_torchvision is not None
    assert of_timm is not None
    assert (of_torchvision.mean, of_torchvision.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert of_timm.mean == (0.5, 0.5, 0.5)
    assert usual_preprocess("smp:unet") == usual_preprocess("torchvision:resnet34")
    assert usual_preprocess("smp:unet/inceptionv4") is None, "not guessed"


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet"])
def test_torchvision(name: str) -> None:
    pytest.importorskip("torchvision")
    model = load_model(f"torchvision:{name}", 3).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_timm() -> None:
    pytest.importorskip("timm")
    model = load_model("timm:mobilenetv3_small_050", 3).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_segmentation_models() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    model = load_model("smp:unet/resnet18", 2).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_a_callable_in_a_file_gets_the_classes_if_it_asks_for_them(own: str) -> None:
    model = load_model(f"{own}:network", 4, width=6)
    assert model(torch.zeros(2, 3, 2, 2)).shape == (2, 4)
    assert model[1].out_features == 6  # type: ignore[index]
    assert load_model(f"{own}:fixed", 4)(torch.zeros(1, 3)).shape == (1, 2)


def test_what_a_file_does_not_have_is_named(own: str) -> None:
    with pytest.raises(ValueError, match=r"own_network.py has no callable 'net'; it has network, fixed, wrong"):
        load_callable(f"{own}:net")
    with pytest.raises(ValueError, match="has no callable 'number'"):
        load_callable(f"{own}:number")
    with pytest.raises(ValueError, match=r"there is no file gone.py, named in 'gone.py:network'"):
        load_callable("gone.py:network")
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got str"):
        load_model(f"{own}:wrong", 2)


@pytest.mark.parametrize("spec", ["resnet21", "keras:vgg", "torchvision", "file.txt:network", ""])
def test_an_unknown_name_lists_what_there_is(spec: str) -> None:
    with pytest.raises(ValueError, match=rf"no model is called '{spec}'.*[Uu]se one of resnet20, .* torchvision:NAME"):
        load_model(spec, 10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet19", "torchvision has no model 'resnet19'"),
        ("timm:resnet19", "timm has no model 'resnet19'"),
        ("smp:unit/resnet18", "segmentation_models_pytorch has no 'unit/resnet18'"),
        ("smp:unet/resnet19", "segmentation_models_pytorch has no 'unet/resnet19'"),
    ],
)
def test_an_unknown_name_of_a_package_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(spec, 10)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="this network needs the package timm; pip install timm"):
        load_model("timm:resnet18", 10)


def test_published_weights_know_their_preprocessing() -> None:
    known = usual_preprocess("torchvision:efficientnet_b3")
    assert known is not None
    assert (known.size, known.crop) == (300, 300 / 320)
    assert known.mean == (0.485, 0.456, 0.406)
    grey = usual_preprocess("timm:vit_base_patch16_224")
    assert grey is not None
    assert (grey.mean, grey.size, grey.crop) == ((0.5, 0.5, 0.5), 224, 0.9)


@pytest.mark.parametrize("spec", ["resnet20", "torchvision:fcn_resnet50", "timm:nothing", "own.py:network"])
def test_where_it_cannot_be_known_nothing_is_guessed(spec: str) -> None:
    assert usual_preprocess(spec) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet81", r"torchvision has no model 'resnet81'; did you mean torchvision:resnet18"),
        ("torchvison:resnet18", r"no model is called 'torchvison:resnet18'; did you mean torchvision:resnet18\?"),
        ("timm:resnet18x", r"timm has no model 'resnet18x'; did you mean timm:resnet18"),
        ("timm:resnet18.a1_in2k", r"timm:resnet18 has no weights 'a1_in2k', only .*a1_in1k"),
        ("resnet18", r"no model is called 'resnet18'; did you mean torchvision:resnet18 or timm:resnet18\?"),
        ("resnet21", r"no model is called 'resnet21'; did you mean .*resnet20 or .*\? Use one of"),
        ("gone.py:network", r"there is no file gone.py, named in 'gone.py:network'"),
    ],
)
def test_a_mistyped_name_gets_the_near_ones(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model(spec)


def test_networks_know_their_own_number_of_classes(own: str) -> None:
    assert [usual_classes(spec) for spec in ("resnet20", "timm:resnet18", f"{own}:network")] == [10, 1000, 1000]


def test_published_weights_know_how_their_pictures_were_resized() -> None:
    for spec, way in (("torchvision:resnet18", "bilinear"), ("timm:resnet18", "bicubic")):
        known = usual_preprocess(spec)
        assert known is not None
        assert known.interpolation == way
    assert usual_preprocess("timm:resnet18").crop == 0.95  # type: ignore[union-attr]


BROKEN = """
WIDTHS = {}

def network(classes):
    return WIDTHS["narrow"]
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BROKEN, r"expected .*broken.py:network to return, got KeyError: 'narrow' at broken.py:5; mend it there"),
        ("\nWIDTH = {}['a']\n", r"expected to import .*broken.py, got KeyError: 'a' at broken.py:2; mend it there"),
        ("def network(:\n", r"expected to import .*broken.py, got SyntaxError: invalid syntax at broken.py:1; mend"),
        ("import no_such_thing", r"got ModuleNotFoundError: No module named 'no_such_thing' at broken.py:1; mend it"),
        ("raise SystemExit('usage')", r"got SystemExit: usage at broken.py:1; mend it there"),
        ("import sys\nraise ValueError('a\\n  b')", r"got ValueError: a b at broken.py:2; mend it there"),
    ],
)
def test_an_error_in_the_users_file_is_one_sentence_with_its_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(ValueError, match=message):
        load_model(f"{tmp_path / 'broken.py'}:network", 3)


def test_a_file_is_run_once_and_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "counted_network.py"
    file.write_text(
        f"with open({str(tmp_path / 'runs')!r}, 'a') as runs: runs.write('x')\nclass Net: pass\ndef net(): pass\n"
    )
    first = load_callable(f"{file}:Net")
    assert load_callable(f"{file}:net").__globals__["Net"] is first  # type: ignore[attr-defined]
    assert (tmp_path / "runs").read_text() == "x"
    file.write_text(file.read_text() + "class Other: pass\n")
    assert load_callable(f"{file}:Other").__name__ == "Other"
    assert (tmp_path / "runs").read_text() == "xx"
    assert sys.modules["counted_network"].Net is load_callable(f"{file}:Net")


def test_files_of_one_name_do_not_take_each_others_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for folder in ("a", "b", "json"):
        (tmp_path / folder).mkdir()
    files = [tmp_path / "a" / "same_name.py", tmp_path / "b" / "same_name.py", tmp_path / "json" / "json.py"]
    for file in files:
        file.write_text("class Net: pass\n")
        found = load_callable(f"{file}:Net")
        assert type(pickle.loads(pickle.dumps(found()))) is found
    assert not hasattr(sys.modules["json"], "Net")
