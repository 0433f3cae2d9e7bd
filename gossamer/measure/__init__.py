# SPDX-License-Identifier: Apache-2.0
"""What comes out, measured for people: quality, sizes, and the machine it was measured on."""
