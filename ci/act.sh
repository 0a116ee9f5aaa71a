#!/usr/bin/env bash
# Really runs nightly.yml, then rerun.yml, on this machine: act in host mode, no Docker, no GitHub, the
# store a folder. GPU jobs are skipped, and the plan says why. Takes minutes. Options: --only nightly|rerun.
# Leaves what it made in $ACT_FOLDER (default .tidemill/act): store/, artifacts/, nightly.log, rerun.log.
. "$(dirname "$0")/common.sh"
only=all
if [ "${1:-}" = --only ]; then
  only="${2:?nightly or rerun}"
fi
folder="$(realpath -m "${ACT_FOLDER:-.tidemill/act}")"
toolchains="$(realpath -m "${TIDEMILL_TOOLCHAINS:-.tidemill/toolchains}")"
mkdir -p "$folder/artifacts" "$folder/cache"
"$bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r ci/act.lock

options=(
  --platform ubuntu-latest=-self-hosted
  --concurrent-jobs "${ACT_JOBS:-1}" # jobs run `tidemill run` with several workers each
  --var "TIDEMILL_STORE=$folder/store"
  --env "ACT_ARTIFACTS=$folder/artifacts"
  --env "TIDEMILL_TOOLCHAINS=$toolchains" # as a runner with a warm cache has it
  --no-cache-server
)
# What this machine needs to reach packages; a runner has it in its own settings.
for name in "${!PIP_@}" "${!npm_config_@}" SSL_CERT_FILE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS \
  HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  if [ -n "${!name:-}" ] && [ "$name" != PIP_EXTRA_INDEX_URL ]; then
    options+=(--env "$name=${!name}")
  fi
done
# Actions of others cannot be downloaded here: small ones in ci/act stand in for them, at the very pins.
while read -r action; do
  options+=(--local-repository "$action=$PWD/ci/act/$(basename "${action%@*}")")
done < <(grep -rhoE 'uses: [a-z-]+/[a-z-]+@[0-9a-f]{40}' .github | sed 's/uses: //' | grep -v actions/checkout | sort -u)

act_run() {
  local log="$folder/$1.log"
  shift
  # act keeps the checkouts of its jobs below its cache folder.
  XDG_CACHE_HOME="$folder/cache" "$bin/act" "$@" "${options[@]}" 2>&1 | tee "$log"
}

status=0
if [ "$only" != rerun ]; then
  act_run nightly schedule --workflows .github/workflows/nightly.yml || status=1
fi
if [ "$only" != nightly ]; then
  act_run rerun workflow_dispatch --workflows .github/workflows/rerun.yml \
    --input model=minilm --input component='*' --input variant=f32 --input target=cpu \
    --input stage=compile --input force=true --input toolchain=default || status=1
fi
if [ "$status" -eq 0 ]; then
  echo "act: all jobs passed; store, artifacts and logs are in $folder"
else
  echo "act: a job failed; store, artifacts and logs are in $folder" >&2
fi
exit "$status"
