# `ingest` with its service and s3://, for a CPU:   docker build -t ingest .
# for an NVIDIA GPU:   docker build -t ingest:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# docs/docker.md says how to run it, and how to build without a network.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# A base that lacks Python gets the one of its distribution, Debian or Ubuntu.
RUN set -eu; \
    if ! python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
        apt-get update -qq; \
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ca-certificates python3 python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    python3 -m venv /opt/ingest/.venv
ENV PATH=/opt/ingest/.venv/bin:$PATH

WORKDIR /opt/ingest
# wheels/ may hold all packages, for a build without a network: PIP_NO_INDEX=1.
COPY requirements.txt constraints.txt wheel[s] wheels/
ARG PIP_INDEX_URL=
ARG PIP_NO_INDEX=
# Beside PyPI's torch this index has the same version for a CPU or for one CUDA, which pip prefers.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_FIND_LINKS=/opt/ingest/wheels
RUN pip install --no-cache-dir -q --extra-index-url "$TORCH_INDEX" -c wheels/constraints.txt torch

COPY . .
ARG EXTRAS=s3
RUN pip install --no-cache-dir -q -r requirements.txt \
    && pip install --no-cache-dir -q -c constraints.txt "ingest[${EXTRAS}]" \
    && python -m compileall -q ingest \
    && rm -rf wheels

# Any user may run it: models go to /models, everything else to the folder mounted at /shop.
RUN install -d -m 1777 /shop /models
ENV HF_HOME=/models HOME=/tmp PIP_FIND_LINKS=
USER 1000
WORKDIR /shop
EXPOSE 8900
ENTRYPOINT ["ingest"]
CMD ["--help"]
