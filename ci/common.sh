# shellcheck shell=bash
# Sourced by the other scripts: stop at the first failure, work from the root of the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where `make setup` put our own environment.
bin="${VENV:-.venv}/bin"

# Pass standard input on to the files that Actions gives a step; on a laptop, to standard output.
to_output() { if [ -n "${GITHUB_OUTPUT:-}" ]; then cat >>"$GITHUB_OUTPUT"; else cat; fi; }
to_summary() { if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat >>"$GITHUB_STEP_SUMMARY"; else cat; fi; }

# Several jobs hand work to each other through the store, so an embedded one will not do.
need_store() {
  if [ -z "${TIDEMILL_STORE:-}" ]; then
    echo "TIDEMILL_STORE is empty: set it (on GitHub, as a repository variable) to the store that all jobs share" >&2
    exit 2
  fi
}
