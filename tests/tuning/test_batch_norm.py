# SPDX-License-Identifier: Apache-2.0
"""Re-estimated statistics are the plain averages over the batches."""

from __future__ import annotations

import torch

from gossamer.graph import trace
from gossamer.tuning import reestimate_batch_norms


def test_statistics_are_the_averages_of_the_batches(task):
    network = trace(task.model, task.example)
    module = network.module.eval()
    batches = [x for x, _ in task.batches(task.calibration, 64)]
    with torch.no_grad():
        before = module.get_buffer("bn1.running_mean").clone()
        outputs = [torch.nn.functional.conv2d(x, module.get_parameter("conv1.weight"), padding=1) for x in batches]
    reestimate_batch_norms(module, batches)
    mean = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    var = torch.stack([y.transpose(0, 1).flatten(1).var(1) for y in outputs]).mean(0)
    assert not torch.allclose(before, mean, atol=1e-3)
    assert torch.allclose(module.get_buffer("bn1.running_mean"), mean, atol=1e-5)
    assert torch.allclose(module.get_buffer("bn1.running_var"), var, rtol=1e-4)
    assert not module.training


def test_replaced_weights_are_used_for_the_statistics_only(task):
    network = trace(task.model, task.example)
    weight = network.module.get_parameter("conv1.weight")
    kept = weight.detach().clone()
    batches = [x for x, _ in task.batches(task.calibration, 64)]
    reestimate_batch_norms(network.module, batches, {"conv1.weight": torch.zeros_like(weight)})
    assert torch.equal(weight, kept)
    assert torch.equal(network.module.get_buffer("bn1.running_mean"), torch.zeros(16))
