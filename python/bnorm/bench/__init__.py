# SPDX-License-Identifier: MIT
"""python -m bnorm.bench: steps of known PyTorch models, with PyTorch's batch norm and with bnorm's, in turns."""
