#!/usr/bin/env bash
# Install the system packages that tests use and that are missing: a browser, in which tests open the report and the web
# package; npm, which downloads onnxruntime-web; and what builds and runs the packages for C and C++.
set -euo pipefail

packages=()
browser=""
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    browser="${browser:-$(command -v "$name" || true)}"
done
[ -n "$browser" ] || packages+=(chromium)
for name in gcc g++ make cmake npm; do
    command -v "$name" >/dev/null || packages+=("$name")
done
command -v node >/dev/null || packages+=(nodejs)
compgen -G "/usr/lib/*/cmake/onnxruntime" >/dev/null || packages+=(libonnxruntime-dev)

if [ "${#packages[@]}" -eq 0 ]; then
    echo "ci_setup: nothing to install; the browser is $browser"
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo "ci_setup: there is no apt-get, so ${packages[*]} is not installed; the tests that need it are skipped"
    exit
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
"${as_root[@]}" apt-get -qq update || true
# One at a time: a package that this system does not have must not keep the others away.
for package in "${packages[@]}"; do
    if DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --yes --no-install-recommends "$package" >/dev/null; then
        echo "ci_setup: installed $package"
    else
        echo "ci_setup: apt-get could not install $package; the tests that need it are skipped"
    fi
done
