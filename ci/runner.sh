#!/usr/bin/env bash
# The runner labels for one rerun: the GPU's own runner where TARGET has one, else any CPU.
# Reads TARGET, STAGE, TIDEMILL_GPU_TARGETS. Only what runs programs needs the GPU.
. "$(dirname "$0")/common.sh"
labels='["ubuntu-latest"]'
for target in ${TIDEMILL_GPU_TARGETS:-}; do
  if [ "$target" = "${TARGET:-}" ] && [[ "${STAGE:-all}" == @(all|validate|benchmark|conformance) ]]; then
    labels="[\"self-hosted\",\"linux\",\"$target\"]"
  fi
done
echo "labels=$labels" | to_output
