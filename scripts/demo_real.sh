#!/bin/sh
# A real catalog through init, run, search and serve: 796 cut-out photographs of Debian's tuxpaint-stamps-default (GPL-2),
# which is downloaded and unpacked into data/real, not installed and not committed. Needs apt-get and dpkg-deb.
# MODEL=openai/clip-vit-base-patch32 takes a real model; without, the sample model of this checkout.
set -eu
cd "$(dirname "$0")/.."
ingest=$PWD/.venv/bin/ingest python=$PWD/.venv/bin/python model=${MODEL:-$PWD/data/models/sample-clip}
folder=data/real
if [ ! -d $folder/stamps ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "demo-real needs Debian's apt-get and dpkg-deb" >&2; exit 1; }
    mkdir -p $folder/package
    (cd $folder/package && apt-get download -q tuxpaint-stamps-default && dpkg-deb -x ./*.deb unpacked)
    mv $folder/package/unpacked/usr/share/tuxpaint/stamps $folder/stamps
    rm -r $folder/package
fi
"$python" scripts/stamps_catalog.py $folder
[ -e $folder/ingest.toml ] || "$ingest" init $folder/stamps.csv
cd $folder
"$ingest" run --data . --model "$model"
for words in "a frog" "a red flower" "an old car"; do
    echo; echo "\$ ingest search \"$words\""
    "$ingest" search "$words" --limit 3 --data . --model "$model"
done
echo; echo "\$ ingest search --product animals/amphibians/frog"
"$ingest" search --product animals/amphibians/frog --limit 4 --data . --model "$model"
[ -n "${MODEL:-}" ] || cat <<'NOTE'

What this shows, and what not: the sample model has only ever seen drawn mugs, shirts and lamps. It has no idea of frogs, so what it
finds by text is chance; products like a product are alike in colour and outline, and that is all. Init, types, captions,
skipped rows, updates and speed are real. For answers that mean something: make demo-real MODEL=openai/clip-vit-base-patch32
NOTE
echo; echo "\$ ingest serve"
if [ -t 1 ]; then
    exec "$ingest" serve --data . --model "$model"
fi
"$ingest" serve --data . --model "$model" --port 8911 & server=$!
trap 'kill $server' EXIT
for _ in $(seq 60); do "$python" -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8911/readyz').read().decode())" 2>/dev/null && exit 0; sleep 1; done
exit 1
