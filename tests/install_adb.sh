#!/bin/sh
# The Android tests talk to a real adb server: Debian's package, where it is missing.
set -eu
command -v adb >/dev/null && exit 0
if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo"; fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends adb >/dev/null
