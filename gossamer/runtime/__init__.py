# SPDX-License-Identifier: Apache-2.0
"""ONNX export, sessions in ONNX Runtime and OpenVINO, latency."""
