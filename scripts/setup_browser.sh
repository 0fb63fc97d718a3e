#!/usr/bin/env bash
# Installs what the tests of the page and of examples/ need besides Python: chromium, its driver, and npm packages.
#
#   scripts/setup_browser.sh
#
# Installs what is missing if it can (apt-get, as root). It never fails: a message says what could not be installed, and
# the tests that need it are skipped with the reason.
set -uo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v chromium >/dev/null && command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
command -v npm >/dev/null || missing+=(nodejs npm)
command -v jq >/dev/null || missing+=(jq)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${missing[*]}"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            "${missing[@]}"; } >/dev/null || echo "could not install ${missing[*]}; their tests are skipped"
    else
        echo "not installed: ${missing[*]}; their tests are skipped"
    fi
fi

for folder in tests/browser examples/typescript; do
    if command -v npm >/dev/null; then
        npm ci --prefix "$folder" --silent --no-audit --no-fund ||
            echo "npm could not install what $folder/package-lock.json names; its tests are skipped"
    fi
done
exit 0
