# lbwatch in a container: `docker build -t lbwatch .`
# It runs as a user of its own, on a read-only file system, and needs no shell. docs/deployment.md says how to run it.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Where there is no index to ask, wheels/ of the build context may hold what requirements/ names: then PIP_NO_INDEX=1.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS=/src/wheels
WORKDIR /src
COPY . .
# What only builds and installs things stays behind.
RUN mkdir -p wheels \
    && python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && python3 -m venv --without-pip /opt/lbwatch \
    && /build/bin/pip --python /opt/lbwatch install --no-cache-dir --no-compile --require-hashes -r requirements/run.txt \
    && /build/bin/pip --python /opt/lbwatch install --no-cache-dir --no-compile --no-deps --no-index /tmp/wheel/*.whl \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/lbwatch/lib
# Named volumes take over the owner of the folder that they are mounted on.
RUN mkdir -p /tree/etc/nginx/conf.d /tree/etc/lbwatch /tree/run/lbwatch /tree/var/lib/lbwatch \
    && chown 10001:10001 /tree/etc/nginx/conf.d /tree/run/lbwatch /tree/var/lib/lbwatch

FROM ${BASE}
ARG VERSION=unknown
LABEL org.opencontainers.image.title="lbwatch" \
      org.opencontainers.image.description="Follows a Docker Engine's containers and keeps nginx's upstreams true" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/lbwatch/lbwatch" \
      org.opencontainers.image.documentation="https://github.com/lbwatch/lbwatch/blob/main/docs/deployment.md" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /tree/ /
COPY --from=build /opt/lbwatch /opt/lbwatch
ENV PATH=/opt/lbwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["lbwatch"]
CMD ["run"]
# It asks /readyz: in step with the engine and with nginx. Docker restarts nothing for it; Swarm does, so that a service
# is better off with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["lbwatch", "health"]
