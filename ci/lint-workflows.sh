#!/usr/bin/env bash
# Everything that reads workflows and shell scripts without running them.
. "$(dirname "$0")/common.sh"
"$bin/yamllint" --strict --config-file .github/yamllint.yml .github manifests
"$bin/check-jsonschema" --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$bin/check-jsonschema" --quiet --builtin-schema vendor.github-actions .github/actions/*/action.yml
"$bin/zizmor" --offline --quiet --no-progress .github
scripts=(ci/[!c]*.sh .ci/run) # common.sh is read through the scripts that source it
"$bin/shellcheck" --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
status=0
ci/actionlint.sh || status=$?
case $status in
  0) "$bin/actionlint" -shellcheck "$bin/shellcheck" .github/workflows/*.yml ;;
  1)
    echo "workflows and scripts: no finding, but actionlint not checked"
    exit 0
    ;;
  *) exit "$status" ;;
esac
echo "workflows and scripts: no finding"
