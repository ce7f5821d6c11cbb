#!/usr/bin/env bash
# The daemon of the package golem-node 0.17.0 calls itself a release candidate of 0.17.0.
#
# Software: golem-node 0.17.0 and 0.17.6 (PyPI), semver 3.0.4 (PyPI).
#
# One would guess that a package of version 0.17.0 brings a daemon of version 0.17.0, and that a
# client that needs 0.17.0 may compare what the daemon says of itself as a semantic version. The
# daemon of that package says 0.17.0-rc10, which comes before 0.17.0, so the comparison turns away the
# very release that it asks for. A client compares the three numbers only. The daemon of a later
# package, 0.17.6, is as one guesses.
#
# Output seen:
#
#     package 0.17.0: yagna 0.17.0-rc10 (cb4c085c9 2025-02-27), at least 0.17.0: no
#     package 0.17.6: yagna 0.17.6 (a98d28015 2026-03-13), at least 0.17.0: yes
set -euo pipefail

fail() { echo "golem-node-version: $1" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() {
    local package=$1 right=$2 least=$3 line version seen
    python3 -m venv "$work/$package"
    "$work/$package/bin/pip" install --quiet --disable-pip-version-check "golem-node==$package" semver==3.0.4
    line=$("$work/$package/bin/yagna" --version)
    version=$(echo "$line" | cut -d ' ' -f 2)
    seen=$("$work/$package/bin/python" -c '
import sys
import semver

print("yes" if semver.Version.parse(sys.argv[1]) >= "0.17.0" else "no")' "$version")
    echo "package $package: $line, at least 0.17.0: $seen"
    [ "$version" = "$right" ] || fail "the daemon of $package calls itself $version, where $right was seen before."
    [ "$seen" = "$least" ] || fail "$version is at least 0.17.0: $seen, where $least was seen before."
}

expect 0.17.0 0.17.0-rc10 no
expect 0.17.6 0.17.6 yes
