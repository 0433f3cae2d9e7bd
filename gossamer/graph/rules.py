# SPDX-License-Identifier: Apache-2.0
"""The table of operators: what Gossamer knows about each.

Names are those of ATen without overload and without the trailing underscore of in-place variants (these need no
special care: labels unite wherever values meet, whatever their aliases). To teach Gossamer an operator, add a line.
An operator that is missing is safe: what it touches is protected, and the reason says so.
"""

from __future__ import annotations

from gossamer.graph import rules_average as average
from gossamer.graph import rules_contraction as contraction
from gossamer.graph import rules_elementwise as elementwise
from gossamer.graph import rules_layout as layout
from gossamer.graph import rules_product as product
from gossamer.graph import rules_taking as taking
from gossamer.graph.calls import Rule

_SAME = """
    abs alias alpha_dropout bernoulli ceil celu clone contiguous cos detach dropout elu empty_like erf exp
    expm1 feature_alpha_dropout feature_dropout fill floor full_like gelu hardshrink hardsigmoid hardswish
    hardtanh isnan leaky_relu lift_fresh lift_fresh_copy log log1p log2 log_sigmoid logical_not mish
    nan_to_num neg normal ones_like rand_like randn_like reciprocal relu relu6 round rrelu rsqrt selu sgn
    sigmoid sign silu sin softplus softshrink softsign sqrt square tanh tanhshrink threshold to _to_copy trunc
    uniform zero zeros_like
"""
_ELEMENTWISE = """
    add addcdiv addcmul atan2 bitwise_and bitwise_or clamp clamp_max clamp_min copy div eq floor_divide fmod
    ge gt le lerp logical_and logical_or lt masked_fill maximum minimum mul ne pow remainder rsub sub
    true_divide where
"""
_POOL = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
    upsample_bicubic2d _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d upsample_trilinear3d
"""
_REDUCTION = "all amax amin any logsumexp max mean min norm linalg_vector_norm prod std sum var var_mean"
_LAYOUT = "flatten permute movedim squeeze swapaxes t transpose unsqueeze pixel_unshuffle numpy_T mT"
_CREATION = "empty full new_empty new_full new_ones new_zeros ones rand randn zeros"
_NO_CHANNELS = "arange eye linspace scalar_tensor sym_constrain_range_for_size sym_size sym_numel"

RULES: dict[str, Rule] = {
    **{name: Rule(elementwise.same) for name in _SAME.split()},
    **{name: Rule(elementwise.elementwise) for name in _ELEMENTWISE.split()},
    **{name: Rule(average.pool) for name in _POOL.split()},
    **{name: Rule(average.reduction) for name in _REDUCTION.split()},
    **{name: Rule(layout.layout) for name in _LAYOUT.split()},
    **{name: Rule(layout.creation, layout.new_shape("size")) for name in _CREATION.split()},
    **{name: Rule(layout.no_channels) for name in _NO_CHANNELS.split()},
    "prelu": Rule(elementwise.prelu),
    "conv1d": Rule(contraction.convolution, contraction.conv_groups),
    "conv2d": Rule(contraction.convolution, contraction.conv_groups),
    "conv3d": Rule(contraction.convolution, contraction.conv_groups),
    "conv_transpose1d": Rule(contraction.transposed_convolution, contraction.conv_groups),
    "conv_transpose2d": Rule(contraction.transposed_convolution, contraction.conv_groups),
    "conv_transpose3d": Rule(contraction.transposed_convolution, contraction.conv_groups),
    "linear": Rule(contraction.linear),
    "matmul": Rule(product.matrix_product),
    "bmm": Rule(product.matrix_product),
    "mm": Rule(product.matrix_product),
    "scaled_dot_product_attention": Rule(product.attention, product.frozen_scale),
    "batch_norm": Rule(average.batch_norm),
    "instance_norm": Rule(average.batch_norm),
    "layer_norm": Rule(average.layer_norm, average.normalized_shape),
    "group_norm": Rule(average.group_norm, average.norm_groups),
    "softmax": Rule(average.softmax),
    "log_softmax": Rule(average.softmax),
    "reshape": Rule(layout.layout, layout.new_shape("shape")),
    "unflatten": Rule(layout.layout, layout.unflatten_sizes),
    "expand": Rule(layout.expansion, layout.new_shape("size")),
    "reshape_as": Rule(layout.layout_like),
    "view_as": Rule(layout.layout_like),
    "expand_as": Rule(layout.expansion_like),
    "slice": Rule(taking.take_slice, taking.slice_bounds),
    "index_select": Rule(taking.take_listed, taking.listed_index),
    "index": Rule(taking.take_indexed),
    "select": Rule(taking.take_one, taking.select_index),
    "unbind": Rule(taking.take_each),
    "split_with_sizes": Rule(layout.layout, taking.split_sizes),
    "cat": Rule(layout.concatenation),
    "concat": Rule(layout.concatenation),
    "stack": Rule(layout.stacking),
    "pad": Rule(layout.padding, layout.pad_amounts),
    "constant_pad_nd": Rule(layout.padding, layout.pad_amounts),
    "pixel_shuffle": Rule(layout.pixel_shuffle),
    "unfold": Rule(taking.along_image("dimension")),
    "roll": Rule(taking.along_image("dims")),
    "flip": Rule(taking.along_image("dims")),
    "im2col": Rule(taking.patches),
    "repeat": Rule(layout.repetition, layout.repeats),
    "repeat_interleave": Rule(layout.layout),  # a dim of size 1 that is repeated stays whole
}

UNKNOWN = Rule(lambda call: call.protect("Gossamer has no rule for the operator"))
