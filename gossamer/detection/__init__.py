# SPDX-License-Identifier: Apache-2.0
"""Detection: what the outputs of a network mean, as data, and how they become boxes. Needs numpy alone.

head = Head.from_json(values)
for found in head.detect(outputs):  # (N, A, 4 + E), one `Detections` an image
    print(found.boxes, found.scores, found.classes)
"""

from __future__ import annotations

from gossamer.detection.anchors import Level as Level
from gossamer.detection.head import Detections as Detections
from gossamer.detection.head import Head as Head
from gossamer.detection.suppression import overlaps as overlaps
from gossamer.detection.suppression import suppress as suppress
