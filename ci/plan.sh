#!/usr/bin/env bash
# What is not up to date, as the job matrix of nightly.yml.
# Reads PIPELINE, TOOLCHAIN, TIDEMILL_STORE, TIDEMILL_GPU_TARGETS.
. "$(dirname "$0")/common.sh"
need_store
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"$bin/tidemill" plan "${PIPELINE:-nightly}" --toolchain "${TOOLCHAIN:-default}" --json >"$folder/plan.json"
"$bin/python" ci/matrix.py --targets manifests/targets.yaml --summary "$folder/summary.md" \
  <"$folder/plan.json" | to_output
to_summary <"$folder/summary.md"
