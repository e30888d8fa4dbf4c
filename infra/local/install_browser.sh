#!/bin/sh
# Chromium, its driver and fonts with Chinese characters, for the tests that look at pages. Debian and Ubuntu.
set -e
if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "chromium and chromedriver are missing and this is no Debian: install them by your system's means" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
$sudo apt-get update -qq
$sudo apt-get install -y -qq chromium chromium-driver fonts-noto-cjk
