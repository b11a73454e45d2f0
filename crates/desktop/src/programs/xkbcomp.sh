#!/bin/sh
# Stands in for xkbcomp: what an X server asks for at its start was compiled while the walls were built.
real=@REAL@
if [ $# != 12 ] || [ "$1 $2 $3 $4 $5" != '-w 1 -R@DIRECTORY@ -xkm -' ]; then
    exec "$real" "$@"
fi
asked=
while IFS= read -r line; do
    asked="$asked$line
"
done
if [ "$asked$line" = '@KEYMAP@' ] && [ -r @COMPILED@ ]; then
    exec cat @COMPILED@ >"${12}"
fi
echo 'xkbcomp: this keymap was not compiled ahead' >&2
printf '%s' "$asked$line" | "$real" "$@"
