#!/usr/bin/env bash
# Release what the store holds for a pipeline. Reads PIPELINE, TOOLCHAIN, TIDEMILL_STORE.
. "$(dirname "$0")/common.sh"
need_store
exec "$bin/tidemill" release "${PIPELINE:-nightly}" "--toolchain=${TOOLCHAIN:-default}"
