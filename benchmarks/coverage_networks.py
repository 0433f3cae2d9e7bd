# SPDX-License-Identifier: Apache-2.0
"""The networks of the coverage table: every CNN of torchvision, every CNN family of timm, segmenters, detectors.

Left out: transformers without convolutions in their body (ViT, Swin, mixers), and networks whose float64 copy does
not fit beside two others in the memory of a small machine; `LEFT_OUT` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    """One network of the table: its source and name, how to build it, and the shape of one image."""

    source: str
    name: str
    build: Callable[[], nn.Module]
    pixels: int = 224
    channels: int = 3


LEFT_OUT = {
    "torchvision:regnet_y_128gf": "645 M parameters; regnet_y_32gf is the same network, narrower",
    "torchvision:swin_*, vit_*": "transformers",
}

_IN_BLOCKS = ("halo", "bat_", "inception")
_TORCHVISION_PIXELS = {"inception_v3": 299}
_NOT_CNN = ("swin", "vit_")

#: timm module -> the models of it in the table: the smallest, and more where a family has several kinds of blocks.
TIMM = {
    "byoanet": "botnet26t_256 halonet26t lambda_resnet26t sebotnet33ts_256 eca_halonext26ts lamhalobotnet50ts_256",
    "byobnet": "gernet_s repvgg_a0 mobileone_s0 resnet26t gcresnext26ts seresnet33ts eca_resnext26ts regnetz_b16 "
    "bat_resnext26ts gcresnet33ts",
    "coat": "coat_lite_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto convnextv2_atto convnext_atto_ols",
    "cspnet": "cspresnet50 cspresnext50 cspdarknet53 darknet53 cs3darknet_s cs3sedarknet_l",
    "davit": "davit_tiny",
    "densenet": "densenet121 densenetblur121d",
    "dla": "dla34 dla46_c dla46x_c dla60_res2net dla60_res2next",
    "dpn": "dpn48b dpn68",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "efficientnet_b0 efficientnet_lite0 efficientnetv2_rw_t mixnet_s mnasnet_100 spnasnet_100 "
    "fbnetc_100 mobilenetv1_100 mobilenetv2_050 tf_efficientnet_cc_b0_4e efficientnet_b0_gn efficientnet_es "
    "test_efficientnet",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnet_tiny hgnetv2_b0",
    "hrnet": "hrnet_w18_small hrnet_w18_ssld",
    "inception_next": "inception_next_tiny",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "iformer": "",
    "lcnetv2": "",
    "levit": "levit_128s levit_conv_128s",
    "lowformer": "",
    "cspnext": "",
    "cpubone": "",
    "mambaout": "mambaout_femto",
    "maxxvit": "coatnet_nano_rw_224 maxvit_pico_rw_256 coatnext_nano_rw_224 maxxvit_rmlp_nano_rw_256",
    "metaformer": "poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18",
    "mobilenetv3": "mobilenetv3_small_050 mobilenetv3_large_100 fbnetv3_b lcnet_050 mobilenetv4_conv_small "
    "mobilenetv4_hybrid_medium",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "nasnet": "nasnetalarge",
    "nextvit": "nextvit_small",
    "nfnet": "dm_nfnet_f0 eca_nfnet_l0 nf_regnet_b0 nf_resnet26 nf_seresnet26 nf_ecaresnet26",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002 regnety_002 regnetz_005 regnetv_040",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2net50_14w_8s res2next50",
    "resnest": "resnest14d resnest50d_4s2x40d",
    "resnet": "resnet10t resnet18 resnet26d resnet50 seresnet50 ecaresnet50t resnetaa50 resnetblur50 resnetrs50 "
    "wide_resnet50_2 resnext26ts skresnext50_32x4d ecaresnetlight",
    "resnetv2": "resnetv2_50 resnetv2_50d_gn resnetv2_50x1_bit resnetv2_50d_evos",
    "rexnet": "rexnet_100 rexnetr_100",
    "selecsls": "selecsls42 selecsls60b",
    "senet": "legacy_seresnet18 legacy_seresnext26_32x4d legacy_senet154",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "tiny_vit": "tiny_vit_5m_224",
    "tresnet": "tresnet_m",
    "vgg": "vgg11 vgg11_bn",
    "visformer": "visformer_tiny",
    "vitamin": "vitamin_small_224",
    "vovnet": "vovnet39a ese_vovnet19b_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41 xception41p",
    "xcit": "xcit_nano_12_p16_224",
}
_TIMM_TRANSFORMERS = (
    "beit cait convit crossvit csatv2 deepseek_vit deit efficientvim eva gemma4_vit hiera hieradet_sam2 mlp_mixer "
    "mobilenetv5 mvitv2 naflexvit nest pit qwen3_vit sequencer swin_transformer swin_transformer_v2 "
    "swin_transformer_v2_cr tnt twins vision_transformer vision_transformer_hybrid vision_transformer_relpos "
    "vision_transformer_sam volo"
)

_SMP_ENCODERS = ("resnet18", "mobilenet_v2", "efficientnet-b0")
_SMP = ("Unet", "UnetPlusPlus", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "Linknet", "MAnet", "PAN", "UPerNet")
_DETECTORS = (
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
)


def networks() -> Iterator[Entry]:
    """All entries, source by source."""
    yield from _torchvision()
    yield from _timm()
    yield from _segmentation_models()
    yield from _detectors()


def _torchvision() -> Iterator[Entry]:
    from torchvision import models

    for name in models.list_models(module=models):
        if name.startswith(_NOT_CNN) or f"torchvision:{name}" in LEFT_OUT:
            continue
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        pixels = _TORCHVISION_PIXELS.get(name, 224)
        yield Entry("torchvision", name, _maker(models.get_model, name, weights=None, **options), pixels)
    for name in models.list_models(module=models.segmentation):
        yield Entry("torchvision", name, lambda name=name: _Single(_segmenter(name)), 224)


def _segmenter(name: str) -> nn.Module:
    from torchvision import models

    return models.get_model(name, weights=None, weights_backbone=None, num_classes=21)


def _timm() -> Iterator[Entry]:
    import timm
    from timm.models import _registry

    for family, models in sorted(_registry._module_to_models.items()):
        if family in _TIMM_TRANSFORMERS.split():
            continue
        for name in TIMM.get(family, "").split() or [sorted(models)[0]]:
            if not timm.is_model(name):
                raise ValueError(f"expected a model of timm {timm.__version__}, got '{name}'; mend TIMM")
            height = timm.get_pretrained_cfg(name).input_size[-1]
            yield Entry("timm", name, _maker(timm.create_model, name), height if timm_is_fixed(name) else 224)


def timm_is_fixed(name: str) -> bool:
    """Whether a network only takes images of its own size, or of multiples of its blocks."""
    import timm

    return bool(timm.get_pretrained_cfg(name).fixed_input_size) or any(part in name for part in _IN_BLOCKS)


def _segmentation_models() -> Iterator[Entry]:
    import segmentation_models_pytorch as smp

    for architecture in _SMP:
        for encoder in _SMP_ENCODERS:
            build = _maker(getattr(smp, architecture), encoder, encoder_weights=None)
            yield Entry("smp", f"{architecture}/{encoder}", build, 224)


def _detectors() -> Iterator[Entry]:
    from torchvision import models

    for name in _DETECTORS:
        make = _maker(models.get_model, name, weights=None, weights_backbone=None)
        yield Entry("detection", name, lambda make=make: DetectorBody(make()), 320)


def _maker(function: Callable[..., nn.Module], *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    return lambda: function(*arguments, **options)


class _Single(nn.Module):
    """The one tensor of a dictionary of outputs that has an auxiliary one beside it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes, H, W)"""
        outputs: dict[str, Tensor] = self.body(images)
        return outputs["out"]


class DetectorBody(nn.Module):
    """A detector without anchors, matching and box post-processing. In a two-stage detector, plain pooling stands in
    for the pooling of regions, whose boxes are data."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.rpn.head if hasattr(detector, "rpn") else detector.head
        self.boxes = None
        if hasattr(detector, "roi_heads"):
            self.boxes = nn.Sequential(detector.roi_heads.box_head)
            self.predictor = detector.roi_heads.box_predictor

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> what the heads say, level by level."""
        features = self.backbone(images)
        levels = list(features.values()) if isinstance(features, dict) else [features]
        outputs = self.head(levels)
        found = list(torch.utils._pytree.tree_leaves(outputs))
        if self.boxes is not None:
            pooled = sum(nn.functional.adaptive_avg_pool2d(level, 7) for level in levels)
            found += self.predictor(self.boxes(pooled))
        return found
