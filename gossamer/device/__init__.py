# SPDX-License-Identifier: Apache-2.0
"""Run a segmentation network on images: tiles that overlap, masks of class indices. Needs numpy and Pillow alone.

The runtime comes from the caller, as a function that opens ONNX bytes; neither torch nor ONNX is imported.

    network = open_network(Path("roads.gossamer"), open_session)
    write_mask(Path("town.png"), predict(network, read_picture(Path("town.tif")), overlap=32))
"""

from __future__ import annotations

from gossamer.device.masks import palette as palette
from gossamer.device.masks import write_mask as write_mask
from gossamer.device.masks import write_overlay as write_overlay
from gossamer.device.network import SegmentationNetwork as SegmentationNetwork
from gossamer.device.network import open_network as open_network
from gossamer.device.pictures import Job as Job
from gossamer.device.pictures import find_jobs as find_jobs
from gossamer.device.pictures import read_picture as read_picture
from gossamer.device.segment import predict as predict
from gossamer.device.segment import usual_overlap as usual_overlap
