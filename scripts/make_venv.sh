#!/bin/sh
# Creates a virtual environment, also if Debian's or Ubuntu's python3 lacks venv.
# usage: make_venv.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
"$python" -m venv "$folder" >/dev/null 2>&1 && exit 0
rm -rf "$folder"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "$python has no venv; installing python$version-venv"
if ! { $as_root apt-get update -qq && $as_root apt-get install -y -qq "python$version-venv"; } >/dev/null; then
    echo "could not install it; run: sudo apt-get install python$version-venv" >&2
    exit 1
fi
exec "$python" -m venv "$folder"
