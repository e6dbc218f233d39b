#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run engines [--check]: each engine that there is an integration for.
source "$(dirname "$0")/../run"
job integrations/opencv/run.sh "$@"
job integrations/jax/run.sh "$@"
summary
