#!/usr/bin/env bash
# The Markdown summary of the newest run, for the page of an Actions job.
. "$(dirname "$0")/common.sh"
newest=""
for summary in .tidemill/runs/*/summary.md; do
  if [ -e "$summary" ] && { [ -z "$newest" ] || [ "$summary" -nt "$newest" ]; }; then
    newest="$summary"
  fi
done
if [ -n "$newest" ]; then
  to_summary <"$newest"
else
  echo "No run left a summary: the step before failed before it started one." | to_summary
fi
