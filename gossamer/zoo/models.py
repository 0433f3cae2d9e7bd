# SPDX-License-Identifier: Apache-2.0
"""Networks by name, and the preprocessing that their published weights were trained with.

`--model` is a name of the zoo, with options behind it (`unet:width=16`), `torchvision:NAME`, `timm:NAME`,
`smp:ARCHITECTURE/ENCODER` or `file.py:callable`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from gossamer.data.preprocess import INTERPOLATIONS, Preprocess
from gossamer.near import meant
from gossamer.zoo import ZOO, split_name, zoo_network
from gossamer.zoo.own_code import call, load_callable

FAMILIES = ("torchvision", "timm", "smp")
LISTED = {"torchvision": "torchvision.models.list_models()", "timm": "timm.list_models()"}
SMP_ENCODER = "resnet34"  # where none is named
USUAL_CLASSES = 1000  # of the networks of torchvision and timm


def load_model(spec: str, classes: int, **options: Any) -> nn.Module:
    """The network that `spec` names, untrained, for `classes` classes.

    `options` reach the builder as they are. A callable from a file gets `classes` if it takes an argument
    so named.
    """
    check_model(spec)
    family, name = split_name(spec)
    if family.endswith(".py"):
        build = load_callable(spec)
        if "classes" in inspect.signature(build).parameters:
            options["classes"] = classes
        model = call(spec, build, **options)
    elif not family:
        plain, given = zoo_network(name)
        model = ZOO[plain](classes, **given, **options)
    else:
        model = {"torchvision": _torchvision, "timm": _timm, "smp": _smp}[family](name, classes, options)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model '{spec}' must be a torch.nn.Module, got {type(model).__name__}")
    return model


def check_model(spec: str) -> None:
    """Raise if no network is called `spec`, and say which names are near; the user's own files must be there."""
    family, name = split_name(spec)
    if family.endswith(".py"):
        if not Path(family).is_file():
            raise ValueError(f"there is no file {family}, named in '{spec}'")
    elif family in LISTED:
        known = _names(family)
        plain, _, tag = name.partition(".") if family == "timm" else (name, "", "")  # a tag names published weights
        if plain not in known:
            near = meant(f"{family}:{plain}", [f"{family}:{other}" for other in known])
            raise ValueError(f"{family} has no model '{name}'{near or f'; see {LISTED[family]}'}")
        tags = [other.partition(".")[2] for other in _package("timm").list_pretrained(f"{plain}.*")] if tag else []
        if tag and tag not in tags:
            raise ValueError(f"timm:{plain} has no weights '{tag}', only {', '.join(tags) or 'untagged ones'}")
    elif not family and name.partition(":")[0] in ZOO:
        zoo_network(name)
    elif family != "smp":
        near = _near(family, name)
        raise ValueError(
            f"no model is called '{spec}'{f'{near} Use' if near else '; use'} one of {', '.join(ZOO)}, or "
            "torchvision:NAME, timm:NAME, smp:ARCHITECTURE/ENCODER, file.py:callable"
        )


def usual_classes(spec: str) -> int:
    """How many classes the network has if nobody says it: those of its paper."""
    family, name = split_name(spec)
    build = load_callable(spec) if family.endswith(".py") else ZOO.get(name.partition(":")[0]) if not family else None
    asked = inspect.signature(build).parameters.get("classes") if build is not None else None
    return USUAL_CLASSES if asked is None or asked.default is asked.empty else int(asked.default)


def _names(family: str) -> Sequence[str]:
    package = _package(family)
    found: Sequence[str] = package.models.list_models() if family == "torchvision" else package.list_models()
    return found


def _near(family: str, name: str) -> str:
    """`; did you mean ...?` over the zoo and the packages that are here, whichever of the two words is mistyped."""
    if family:
        return meant(f"{family}:{name}", [f"{known}:{name}" for known in FAMILIES])
    elsewhere = [known for known in LISTED if importlib.util.find_spec(known)]
    same = [f"{known}:{name}" for known in elsewhere if name in _names(known)]
    return f"; did you mean {' or '.join(same)}?" if same else meant(name, ZOO)


def _package(name: str) -> Any:
    """A package that only some networks need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"this network needs the package {error.name}; pip install {error.name}") from error


def _torchvision(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    torchvision = _package("torchvision")
    from gossamer.zoo.detectors import is_detector, load_detector  # which makes networks of users by `load_model`

    if is_detector(f"torchvision:{name}"):
        return load_detector(f"torchvision:{name}", classes, **options)
    if name in ("googlenet", "inception_v3"):  # their second heads are for training from nothing
        options = {"aux_logits": False, "init_weights": True, **options}
    from gossamer.zoo.torchvision_pixelwise import Pixelwise, builds_on_backbone, is_pixelwise

    if builds_on_backbone(name):
        options = {"weights_backbone": None, **options}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    return Pixelwise(model) if is_pixelwise(name) else model


def _timm(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    timm = _package("timm")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **options)
    return model


def _smp(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    smp = _package("segmentation_models_pytorch")
    architecture, _, encoder = name.partition("/")
    try:
        model: nn.Module = smp.create_model(
            architecture, encoder or SMP_ENCODER, encoder_weights=None, classes=classes, **options
        )
    except KeyError as error:
        raise ValueError(f"segmentation_models_pytorch has no '{name}': {error}; use e.g. unet/resnet18") from error
    return model


def usual_preprocess(spec: str) -> Preprocess | None:
    """What the published weights of a torchvision or timm classifier read; None where it is not known.

    Of segmentation_models_pytorch those of the encoder, where they are torchvision's (resnet18) or timm's
    (tu-resnet18): what the package knows of others, it would have to download.
    """
    family, name = split_name(spec)
    if family == "torchvision":
        torchvision = _package("torchvision")
        if name not in torchvision.models.list_models(module=torchvision.models):
            return None
        published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        size, shorter = published.crop_size[0], published.resize_size[0]
        way = _interpolation(published.interpolation.value)
        return Preprocess(tuple(published.mean), tuple(published.std), size, crop=size / shorter, interpolation=way)
    if family == "timm":
        timm = _package("timm")
        published = timm.get_pretrained_cfg(name)
        if published is None:
            return None
        channels, height, width = published.input_size
        size = height if height == width else (height, width)
        way = _interpolation(published.interpolation)
        return Preprocess(published.mean, published.std, size, channels, crop=published.crop_pct, interpolation=way)
    if family == "smp":
        encoder = name.partition("/")[2] or SMP_ENCODER
        timm_s = encoder.startswith("tu-")
        return usual_preprocess(f"timm:{encoder.removeprefix('tu-')}" if timm_s else f"torchvision:{encoder}")
    return None


def _interpolation(way: str) -> str:
    return way if way in INTERPOLATIONS else "bilinear"
