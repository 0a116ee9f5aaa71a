#!/usr/bin/env bash
# One job's share of a pipeline, without a release.
# Reads PIPELINE, TOOLCHAIN, TIDEMILL_STORE and, as filters, MODEL, COMPONENT, VARIANT, TARGET, STAGE; FORCE=true rebuilds.
. "$(dirname "$0")/common.sh"
need_store
arguments=(run "${PIPELINE:-nightly}" --no-release --no-progress "--toolchain=${TOOLCHAIN:-default}")
for filter in model component variant target stage; do
  name="${filter^^}"
  value="${!name:-}"
  if [ -n "$value" ] && [ "$value" != all ]; then
    arguments+=("--$filter=$value")
  fi
done
if [ "${FORCE:-false}" = true ]; then
  arguments+=(--force --retry-failed)
fi
# What components name besides; there already on a runner with a warm cache.
"$bin/tidemill" toolchain sync "${TOOLCHAIN:-default}" --for "${PIPELINE:-nightly}" >/dev/null
exec "$bin/tidemill" "${arguments[@]}"
