# SPDX-License-Identifier: Apache-2.0
"""Union-find, planes and boxes on arrays small enough to check by eye."""

from __future__ import annotations

import pytest
import torch

from gossamer.graph.labels import Labels, along, compact, varying_dims


def test_united_labels_share_a_class():
    labels = Labels()
    a, b = labels.fresh(3), labels.fresh(3)
    labels.unite(a, b)
    labels.unite(a[0], a[2])
    classes = labels.solve()
    assert classes(a).tolist() == classes(b).tolist()
    assert classes(a)[0] == classes(a)[2] != classes(a)[1]


def test_the_first_reason_wins():
    labels = Labels()
    a, b = labels.fresh(2), labels.fresh(2)
    labels.pin(b, "second")
    labels.unite(a, b)
    labels.pin(a, "third")
    labels.mark_inexact(a[:1], "averaged")
    classes = labels.solve()
    assert [classes.pinned[c] for c in classes(a)] == ["second", "second"]
    assert [classes.inexact[c] for c in classes(b)] == ["averaged", ""]


def test_planes_of_parameters_skip_dims_of_size_one():
    planes = Labels().fresh_planes((4, 1, 3))
    assert [tuple(plane.shape) for plane in planes] == [(4, 1, 1), (1, 1, 3)]


def test_compact_narrows_constant_dims_without_copying():
    line = torch.arange(4)
    image = along(line, 1, 4).expand(1, 4, 224, 224)
    assert compact(image).shape == (1, 4, 1, 1)
    assert compact(image.flatten(2)).shape == (1, 4, 1)
    assert compact(image[:, :, :2, :2].contiguous()).shape == (1, 4, 1, 1)
    assert compact(torch.zeros(3, 3, dtype=torch.int64)).shape == (1, 1)


def test_couple_unites_along_a_dim():
    labels = Labels()
    plane = labels.fresh(6).reshape(2, 3)
    assert labels.couple(plane, [0]).tolist() == [[0, 1, 2]]
    assert labels.solve()(plane).tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize(("shape", "classes"), [((2, 3), 3), ((3, 2), 3), ((2, 3, 4), 4)])
def test_box_leaves_the_longest_dim_free(shape, classes):
    labels = Labels()
    plane = labels.fresh(torch.Size(shape).numel()).reshape(shape)
    assert len(set(labels.box([plane])(plane).flatten().tolist())) == classes


def test_box_repeats_until_all_planes_agree():
    """Coupling one plane makes another vary along two dims, which couples again."""
    labels = Labels()
    line = labels.fresh(24)
    planes = [line.reshape(shape) for shape in ((2, 12), (4, 6), (3, 8))]
    classes = labels.box(planes)
    assert all(len(varying_dims(torch.from_numpy(classes(plane)))) <= 1 for plane in planes)
