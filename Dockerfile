# lbwatch in a container: `docker build -t lbwatch .`
# It runs as a user of its own, on a read-only file system, and needs no shell. docs/deployment.md says how to run it.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Where there is no index to ask, wheels/ of the build context may hold what requirements/ names: then PIP_NO_INDEX=1.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS=/src/wheels
WORKDIR /src
# LICENSE is there for COPY, which wants one file at least where there is no wheels/.
COPY LICENSE wheel[s] wheels/
COPY requirements requirements
# What only builds and installs things stays behind.
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && python3 -m venv --without-pip /opt/lbwatch \
    && /build/bin/pip --python /opt/lbwatch install --no-cache-dir --no-compile --require-hashes -r requirements/run.txt
COPY . .
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /build/bin/pip --python /opt/lbwatch install --no-cache-dir --no-compile --no-deps --no-index /tmp/wheel/*.whl
# Named volumes take over the owner of the folder that they are mounted on, but a tmpfs takes over its mode alone.
RUN mkdir -p /tree/etc/nginx/conf.d /tree/etc/lbwatch /tree/run/lbwatch /tree/var/lib/lbwatch \
    && chown 10001:10001 /tree/etc/nginx/conf.d /tree/run/lbwatch /tree/var/lib/lbwatch \
    && chmod 1777 /tree/run/lbwatch

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lbwatch" \
      org.opencontainers.image.description="Follows a Docker Engine's containers and keeps nginx's upstreams true" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/lbwatch/lbwatch" \
      org.opencontainers.image.documentation="https://github.com/lbwatch/lbwatch/blob/main/docs/deployment.md" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /tree/ /
COPY --from=build /opt/lbwatch /opt/lbwatch
# A read-only file system never gets bytecode: each health check would compile what it needs, also of the base's library,
# which comes without. Importing all of lbwatch leaves it, and of what is imported later what looks names up.
RUN ["/opt/lbwatch/bin/python3", "-c", "import encodings.idna, pkgutil; from importlib import import_module; import lbwatch; \
[import_module(each.name) for each in pkgutil.walk_packages(lbwatch.__path__, 'lbwatch.')]"]
ENV PATH=/opt/lbwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["lbwatch"]
CMD ["run"]
# It asks /readyz: in step with the engine and with nginx. Docker restarts nothing for it; Swarm does, so that a service
# is better off with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["lbwatch", "health"]
