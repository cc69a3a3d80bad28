#!/bin/sh
# Compares the jars in a folder with their SHA-256 in deploy/locks/jars.txt; prints what differs and then fails.
# Usage: check-jars.sh GROUP FOLDER
set -eu
lock=$(cd "$(dirname "$0")/../locks" && pwd)/jars.txt
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
sed -n "s|^\([0-9a-f]\{64\}  \)$1/|\1|p" "$lock" | LC_ALL=C sort -k 2 > "$work/locked"
(cd "$2" && sha256sum -- *.jar | LC_ALL=C sort -k 2) > "$work/found"
diff --old-line-format='  locked %L' --new-line-format='  found  %L' --unchanged-line-format='' "$work/locked" "$work/found"
