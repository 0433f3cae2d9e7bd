# SPDX-License-Identifier: Apache-2.0
"""Run a network on the device where it is used: a mask of classes for each image, or boxes around objects.

It needs numpy and Pillow alone; OpenCV where a video or a camera is asked for. The runtime comes from the caller, as a
function that opens ONNX bytes; neither torch nor ONNX is imported.

    network = open_network(Path("roads.gossamer"), open_session)
    write_mask(Path("town.png"), predict(network, read_picture(Path("town.tif")), overlap=32))

    detector = open_detector(Path("cars.gossamer"), open_session)
    for frame in open_source("camera:0").frames(say=print):
        print(look(detector, frame, threshold=0.5).rows())
"""

from __future__ import annotations

from gossamer.device.detect import Seen as Seen
from gossamer.device.detect import look as look
from gossamer.device.detector import Detector as Detector
from gossamer.device.detector import open_detector as open_detector
from gossamer.device.frames import Frame as Frame
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
from gossamer.device.sources import Source as Source
from gossamer.device.sources import open_source as open_source
