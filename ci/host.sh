#!/usr/bin/env bash
# Packages that some tests use where they are there: a browser for the report page. Never fails:
# without them those tests say that they were skipped.
. "$(dirname "$0")/common.sh"
missing=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null; then
  echo "no apt-get here: going on without ${missing[*]}" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
{ "${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" apt-get install -qq --no-install-recommends -y "${missing[@]}"; } >/dev/null ||
  echo "could not install ${missing[*]}: going on without" >&2
