#!/usr/bin/env bash
# Build a local Milvus standalone image without a container registry.
#
# On a machine that can reach Debian and PyPI but no registry, `docker pull milvusdb/milvus` is not
# possible. The PyPI wheel `milvus` carries the real Milvus 2.3.5 server binary with its libraries, so a
# minimal Debian tree plus those files makes an image that runs and takes its settings like the official
# one: `milvus run standalone`, settings from environment variables, data in /var/lib/milvus.
#
# Usage: scripts/build_milvus_image.sh [--force]
#
#   --force         rebuild even if the image exists
#   DEBIAN_MIRROR   mirror to bootstrap from (default: the one apt uses here, else deb.debian.org)
set -euo pipefail

readonly IMAGE=ingest-milvus:2.3.5
readonly SUITE=bookworm
readonly WHEEL=milvus==2.3.5
# The server runs whatever the wheel contains, so only the published file is accepted.
readonly WHEEL_SHA256=69515a0630ce29fd10e101fa442afea8ca1387b93a456cd9bd41fdf3deb93d04
# Seconds. On SIGTERM a query node hands its segments to another one. A standalone server has no other, and would
# wait half an hour with Milvus' default, until Docker kills it.
readonly STOP_TIMEOUT=3

say() { printf '==> [%3ds] %s\n' "$SECONDS" "$*"; }
die() {
    printf 'build_milvus_image: %s\n' "$*" >&2
    exit 1
}
need() { command -v "$1" >/dev/null || die "$1 is missing: $2"; }

force=false
case "${1:-}" in
    '') ;;
    --force) force=true ;;
    *) die "unknown argument '$1' (usage: $0 [--force])" ;;
esac

need docker 'apt-get install docker.io iptables'
docker info >/dev/null 2>&1 || die 'the Docker daemon does not answer: start it (systemctl start docker), or run this script as root'

if ! $force && docker image inspect "$IMAGE" >/dev/null 2>&1; then
    say "$IMAGE already exists (--force rebuilds it)"
    exit 0
fi

need debootstrap 'apt-get install debootstrap'
need python3 'apt-get install python3'
python3 -c 'import ensurepip, venv' 2>/dev/null || die 'the venv module is missing: apt-get install python3-venv'
[ "$(id -u)" -eq 0 ] || die 'debootstrap needs root: run this script with sudo'
[ "$(uname -m)" = x86_64 ] || die "the $WHEEL wheel only has an x86_64 server, and this machine is $(uname -m)"

# The mirror that apt uses on this machine; on a closed network it may be the only one.
apt_mirror() {
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016  # apt fills the placeholder in, not the shell
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' \
        2>/dev/null | grep -E '^(https?|file):' | head -n 1 || true
}

# debootstrap downloads with wget, which uses the proxy of the environment but not the one set for apt.
adopt_apt_proxy() {
    command -v apt-config >/dev/null || return 0
    local http='' https=''
    eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
    [ -z "$http" ] || [ "$http" = DIRECT ] || export http_proxy="${http_proxy:-$http}"
    [ -z "$https" ] || [ "$https" = DIRECT ] || export https_proxy="${https_proxy:-$https}"
}

work=$(mktemp -d)
cleanup() {
    # An interrupted bootstrap can leave these mounted, and rm would then delete from the host's.
    umount "$work/root/proc" "$work/root/sys" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "downloading $WHEEL from PyPI"
# A temporary environment, because the system's python3 may lack pip.
python3 -m venv "$work/venv"
echo "$WHEEL --hash=sha256:$WHEEL_SHA256" >"$work/requirements.txt"
"$work/venv/bin/pip" download -qq --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement "$work/requirements.txt" --dest "$work/wheel"

mirror=${DEBIAN_MIRROR:-$(apt_mirror)}
mirror=${mirror:-http://deb.debian.org/debian}
adopt_apt_proxy
say "bootstrapping Debian $SUITE from $mirror"
# The health check runs curl, in this image as in the official one.
debootstrap --variant=minbase --include=ca-certificates,curl "$SUITE" "$work/root" "$mirror" \
    >"$work/debootstrap.log" 2>&1 || {
    tail -n 20 "$work/debootstrap.log" "$work/root/debootstrap/debootstrap.log" >&2 2>/dev/null || true
    die "debootstrap failed with $mirror (DEBIAN_MIRROR=... chooses another mirror)"
}
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/var/log/* \
    "$work"/root/usr/share/{doc,man,locale,info}/*

say 'unpacking the server into /milvus'
"$work/venv/bin/python" - "$work/wheel" "$work/root/milvus" <<'PYTHON'
"""Unpack the wheel's server into the official image's layout: bin, lib and configs below one directory."""

import lzma
import re
import sys
import zipfile
from pathlib import Path

wheel_dir, target = Path(sys.argv[1]), Path(sys.argv[2])
BIN, CONFIG = "milvus/data/bin/", "milvus/data/config.yaml.template"

# The values that the wheel's launcher would choose, with the paths of a container. With an empty log directory the
# logs only go to standard output, for `docker logs`.
VALUES = {
    "etcd_data_dir": "/var/lib/milvus/etcd",
    "etcd_log_path": "stdout",
    "local_storage_dir": "/var/lib/milvus/data/",
    "rocksmq_data_dir": "/var/lib/milvus/rdb_data",
    "system_log_path": '""',
}


def fill(match: re.Match[str]) -> str:
    """A placeholder is `{{ name }}`, `{{ name: default }}` or `{{ name(type): default }}`."""
    name, value = match["name"], VALUES.get(match["name"], match["default"])
    if value is None:
        sys.exit(f"the configuration template asks for an unknown value: {name}")
    return value


placeholder = re.compile(r"\{\{\s*(?P<name>\w+)\s*(?:\(\w+\))?\s*(?::\s*(?P<default>.*?))?\s*\}\}")
with zipfile.ZipFile(next(wheel_dir.glob("milvus-*.whl"))) as wheel:
    for name in wheel.namelist():
        if name.startswith(BIN) and name.endswith(".lzma"):
            stem = name.removeprefix(BIN).removesuffix(".lzma")
            path = target / ("bin" if stem == "milvus" else "lib") / stem
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lzma.decompress(wheel.read(name)))
            path.chmod(0o755)
    configs = target / "configs"
    configs.mkdir()
    (configs / "milvus.yaml").write_text(placeholder.sub(fill, wheel.read(CONFIG).decode()))
    # The C++ half of the server has its own logging; without this it would write files.
    (configs / "glog.conf").write_text("--logtostderr=true\n--minloglevel=1\n")
PYTHON
mkdir -p "$work/root/var/lib/milvus"

say "importing $IMAGE"
previous=$(docker image inspect --format '{{.Id}}' "$IMAGE" 2>/dev/null || true)
tar --create --directory "$work/root" --one-file-system . | docker import \
    --message "Milvus 2.3.5 standalone from Debian $SUITE and the PyPI wheel" \
    --change 'ENV PATH=/milvus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LD_LIBRARY_PATH=/milvus/lib' \
    --change 'ENV ETCD_USE_EMBED=true' \
    --change 'ENV COMMON_STORAGETYPE=local' \
    --change 'ENV DEPLOY_MODE=STANDALONE' \
    --change "ENV COMMON_GRACEFULSTOPTIMEOUT=$STOP_TIMEOUT" \
    --change 'WORKDIR /milvus' \
    --change 'EXPOSE 19530 9091' \
    --change 'VOLUME /var/lib/milvus' \
    --change 'HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 CMD curl -fsS http://localhost:9091/healthz' \
    --change 'CMD ["milvus", "run", "standalone"]' \
    - "$IMAGE" >/dev/null
# A rebuild leaves the replaced image without a name; it stays if a container uses it.
[ -z "$previous" ] || docker image rm "$previous" >/dev/null 2>&1 || true

say "built $IMAGE ($(docker image inspect --format '{{.Size}}' "$IMAGE" | awk '{printf "%d MB", $1 / 1000000}'))"
