# Two images; docs/deployment.md says how to run them:
# - `docker build --tag lbwatch .`: lbwatch alone. It runs as a user of its own, on a read-only file system, and needs no
#   shell.
# - `docker build --target proxy --tag lbwatch:proxy .`: with an nginx beside it, in one container.

ARG BASE=python:3.13-slim
# Has the Python of BASE where that has it. nginx and s6 are installed if they are missing, as Debian's packages.
ARG PROXY_BASE=${BASE}
# A read-only file system never gets bytecode: each health check would compile what it needs, also of the base's library,
# which comes without. Importing all of lbwatch leaves it, and of what is imported later what looks names up and
# what reads certificates.
ARG COMPILE="import cryptography.x509, encodings.idna, pkgutil; from importlib import import_module; import lbwatch; \
[import_module(each.name) for each in pkgutil.walk_packages(lbwatch.__path__, 'lbwatch.')]"
ARG VERSION=0.1.0

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

FROM ${PROXY_BASE} AS proxy
ARG VERSION
# lbwatch.enable: with expose=all nginx would be sent its own requests.
LABEL org.opencontainers.image.title="lbwatch with nginx" \
      org.opencontainers.image.description="An nginx that serves what the containers of a Docker Engine say" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/lbwatch/lbwatch" \
      org.opencontainers.image.documentation="https://github.com/lbwatch/lbwatch/blob/main/docs/deployment.md" \
      org.opencontainers.image.version="${VERSION}" \
      lbwatch.enable="false"
# As root, as nginx's master: the group of the engine's socket is another on each machine. nginx's workers are not.
USER root
# s6 supervises both: it is made to be process 1, and sends nginx QUIT and not TERM for a word in a file. ssh is for
# engines at ssh://, as below.
RUN { command -v nginx && command -v s6-svscan && command -v ssh; } > /dev/null \
    || { apt-get update \
    && apt-get install --yes --no-install-recommends nginx libnginx-mod-http-lua libnginx-mod-stream openssh-client s6 \
    && rm -rf /var/lib/apt/lists/*; }
RUN rm -rf /etc/nginx/conf.d/* /etc/nginx/sites-enabled/* \
    && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
COPY --from=build /opt/lbwatch /opt/lbwatch
ARG COMPILE
RUN /opt/lbwatch/bin/python3 -c "$COMPILE"
COPY deploy/proxy/nginx.conf deploy/proxy/network_internal.conf /etc/nginx/
COPY deploy/proxy/defaults.conf deploy/proxy/first.conf /usr/share/lbwatch/
COPY deploy/proxy/50x.html /usr/share/nginx/html/errors/50x.html
COPY deploy/proxy/s6 /etc/s6
# By these paths acme-companion calls what is in nginx-proxy's image.
COPY deploy/proxy/app /app
COPY deploy/proxy/bin /usr/local/bin
# All that users of nginx-proxy mount. The README mounts the folder of the engine's socket and not the socket.
RUN mkdir -p /run/lbwatch /var/lib/lbwatch /etc/nginx/certs /etc/nginx/dhparam /etc/nginx/htpasswd /etc/nginx/stream.d \
        /etc/nginx/vhost.d /etc/nginx/modules-enabled \
    && ln -sf /host/run/docker.sock /var/run/docker.sock \
    && touch /etc/nginx/stream.d/lbwatch.conf \
    && cp /usr/share/lbwatch/first.conf /etc/nginx/conf.d/default.conf \
    && nginx-defaults \
    && echo 'stream { include /etc/nginx/stream.d/*.conf; }' > /etc/nginx/modules-enabled/90-lbwatch-stream.conf \
    && { nginx -t 2> /dev/null || rm /etc/nginx/modules-enabled/90-lbwatch-stream.conf; }
# acme-companion wants the two versions to be there, whatever they are.
ENV PATH=/opt/lbwatch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    DOCKER_GEN_VERSION=lbwatch \
    NGINX_VERSION=lbwatch \
    LBWATCH_COMPAT=nginx-proxy \
    LBWATCH_OUTPUT=/etc/nginx/conf.d/default.conf \
    LBWATCH_STREAM_OUTPUT=/etc/nginx/stream.d/lbwatch.conf \
    LBWATCH_TEMPLATE=nginx/image.conf.j2
EXPOSE 80 443
STOPSIGNAL SIGTERM
ENTRYPOINT []
CMD ["s6-svscan", "/etc/s6"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["lbwatch", "health"]

FROM ${BASE}
ARG VERSION
LABEL org.opencontainers.image.title="lbwatch" \
      org.opencontainers.image.description="Follows a Docker Engine's containers and has nginx serve what they say" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/lbwatch/lbwatch" \
      org.opencontainers.image.documentation="https://github.com/lbwatch/lbwatch/blob/main/docs/deployment.md" \
      org.opencontainers.image.version="${VERSION}"
# For engines at ssh://: 9 MB, of which what is setuid is of no use here. ssh works for nobody who has no name, and reads
# .ssh in the home that stands beside it.
RUN { command -v ssh > /dev/null \
    || { apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*; }; } \
    && rm -f /usr/lib/openssh/ssh-keysign \
    && echo 'lbwatch:x:10001:' >> /etc/group \
    && echo 'lbwatch:x:10001:10001::/var/lib/lbwatch:/usr/sbin/nologin' >> /etc/passwd
COPY --from=build /tree/ /
COPY --from=build /opt/lbwatch /opt/lbwatch
ARG COMPILE
RUN /opt/lbwatch/bin/python3 -c "$COMPILE"
ENV PATH=/opt/lbwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["lbwatch"]
CMD ["run"]
# It asks /readyz: in step with the engine and with nginx. Docker restarts nothing for it; Swarm does, so that a service
# is better off with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["lbwatch", "health"]
