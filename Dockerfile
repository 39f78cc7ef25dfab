# The image of `sprintly-services`: the locked dependencies and the wheel in a virtual environment, and nothing else.
# How to run it, and how to build it on another base or behind a mirror: docs/docker.md.
#
# Nothing here needs BuildKit: docker-compose 1.29 still builds without it.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Where packages come from, if not from PyPI. This stage is left behind, so no word of these gets into the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_NO_CACHE_DIR=1
ARG PIP_PROGRESS_BAR=off
ARG PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Neither environment gets a pip of its own: the base's fills them.
RUN python -m venv --without-pip /opt/sprintly \
 && python -m venv --without-pip tools
# pip compiles what it installs. The bytecode is 24 MB and halves the start (0.7 s instead of 1.3): a replica whose file
# system is read-only would compile everything at each start.
# requirements-apprise.lock has what the service apprise needs as well, requirements-otel.lock what sends spans.
ARG REQUIREMENTS=requirements.lock
COPY $REQUIREMENTS ./
RUN python -m pip --python /opt/sprintly/bin/python install --require-hashes --report installed.json --requirement $REQUIREMENTS
# The build backend, and what writes the bill of materials, come by hash as well; the lock of the development tools has
# them.
COPY requirements-dev.lock ./
RUN python -m pip --python tools/bin/python install --require-hashes --requirement requirements-dev.lock
COPY LICENSE README.md pyproject.toml ./
COPY consumer consumer
COPY schemas schemas
COPY services services
RUN tools/bin/python -m build --wheel --no-isolation --outdir dist . \
 && python -m pip --python /opt/sprintly/bin/python install --no-deps dist/*.whl
COPY deploy/supply/sbom.py ./
RUN tools/bin/python sbom.py /opt/sprintly --installed installed.json --output /opt/sprintly/sbom.cdx.json

FROM ${BASE_IMAGE}
ENV PATH=/opt/sprintly/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/sprintly /opt/sprintly
COPY deploy/docker/health.py /opt/sprintly/health.py
# Where subscriptions.yaml is looked for.
WORKDIR /etc/sprintly
# That it starts is tried while it is still root, who may write: slim images have no bytecode of Python's own library,
# and this leaves it for the modules that are used.
RUN sprintly-services consume --help >/dev/null \
 && SPRINTLY_HTTP=off python /opt/sprintly/health.py /livez
# A number, so that Kubernetes' runAsNonRoot can see that it is not root's.
USER 10001:10001
ENV HOME=/tmp
EXPOSE 9464
STOPSIGNAL SIGTERM
# Alive, not ready: some supervisors restart what is unhealthy, which helps nobody while Kafka is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-IS", "/opt/sprintly/health.py", "/livez"]
ENTRYPOINT ["sprintly-services"]
CMD ["consume"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="sprintly-services" \
      org.opencontainers.image.description="Tells third parties what happens in a Sprint.ly product: from Kafka, in order, with nothing lost." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      ly.sprint.services.sbom="/opt/sprintly/sbom.cdx.json"
