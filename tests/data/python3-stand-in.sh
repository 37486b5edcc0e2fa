#!/bin/sh
# Stands for `python3 -m pip download` in tests of the library fetch: a test links this file as `python3` into a folder
# of its own and puts there what the client shall do, as `client.sh`, which finds the destination folder in $dest.
# It is a committed file because one that a test writes and starts at once can be refused as busy.
here=$(dirname "$0")
echo "$@" > "$here/arguments"
while [ $# -gt 0 ]; do
  [ "$1" = --dest ] && dest="$2"
  shift
done
. "$here/client.sh"
