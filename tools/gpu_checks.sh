#!/usr/bin/env bash
# What only a machine with a GPU can tell of the training loop, within 8 minutes: bash tools/gpu_checks.sh [--help]
# Needs a Python with PyTorch for the card, torchvision, pandas, scikit-learn and tqdm, and nothing of the book's.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
PYTHONPATH=$PWD exec "$python" -m tools.gpu_checks "$@"
