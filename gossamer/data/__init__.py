# SPDX-License-Identifier: Apache-2.0
"""Data sets and formats, one a file; every one gives images with content hashes, cut into honest splits."""
