#!/bin/sh
# What a short lease of an NVIDIA GPU is for, on a machine as it comes:
#
#     sh benchmarks/gpu_session.sh RESULTS [--wheels DIR] [options of benchmarks.gpu_session]
#
# DIR holds wheels for a machine without a package index, whose own torch, numpy and setuptools are
# used; without it pnag must be installed. What was done before is not done again.
set -eu
results=$(mkdir -p "${1:?usage: gpu_session.sh RESULTS [--wheels DIR]}" && cd "$1" && pwd)
shift
python=${PYTHON:-python3}
if [ "${1:-}" = --wheels ]; then
    wheels=$(cd "$2" && pwd)
    shift 2
fi
cd "$(dirname "$0")/.."
if [ -n "${wheels:-}" ]; then
    if [ ! -e "$results/installed" ]; then
        # no venv: where python is of one itself, its packages would not be seen from a second
        pip="$python -m pip install --quiet --no-index --no-deps --upgrade --target $results/site"
        $pip "$wheels"/*.whl
        $pip --no-build-isolation .
        touch "$results/installed"
    fi
    export PYTHONPATH="$results/site${PYTHONPATH:+:$PYTHONPATH}"
fi
exec "$python" -m benchmarks.gpu_session "$results" "$@"
