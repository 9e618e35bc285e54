# Cipher Hub in a container: the program, the libraries it is linked to, and nothing else. There is
# no shell, no package manager and no user but 65532, so whoever gets in finds nothing to run.
#
#   docker build -t cipher-hub .
#   docker run --read-only --cap-drop all --security-opt no-new-privileges \
#     -v hub-data:/var/lib/cipher-hub cipher-hub
#
# A program that was built before (where the build has no network) goes in from a folder that holds
# it under the name `cipher-hub`; `tests/image` does that and tries the result:
#
#   docker build --target runtime-prebuilt -f Dockerfile target/release
#
# BASE gives the C library: it must be as new as the one the program was built with.
ARG BASE=debian:bookworm-slim
ARG RUST=rust:1.95-slim-bookworm

# -- a program built before --------------------------------------------------------------------------
FROM ${BASE} AS assemble-prebuilt
COPY cipher-hub /rootfs/usr/local/bin/cipher-hub
# Beside the libraries the program names: the authorities for outgoing TLS, the user, its folder.
RUN set -eu; \
    chmod 0755 /rootfs/usr/local/bin/cipher-hub; \
    ldd /rootfs/usr/local/bin/cipher-hub > /libraries; \
    ! grep 'not found' /libraries; \
    for library in $(grep -o '/[^ ]*' /libraries); do \
      install -D -m 0755 "$library" "/rootfs$library"; \
    done; \
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then \
      install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ca-certificates.crt; \
    fi; \
    echo 'hub:x:65532:65532::/var/lib/cipher-hub:/nonexistent' > /rootfs/etc/passwd; \
    echo 'hub:x:65532:' > /rootfs/etc/group; \
    install -d -m 0700 -o 65532 -g 65532 /rootfs/var/lib/cipher-hub

FROM scratch AS runtime-prebuilt
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Cipher Hub" \
      org.opencontainers.image.description="Key management gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=assemble-prebuilt /rootfs /
USER 65532:65532
ENV PATH=/usr/local/bin \
    CIPHER_HUB__DATA_DIR=/var/lib/cipher-hub
WORKDIR /var/lib/cipher-hub
# The API is on loopback until it has a certificate (docs/configuration.md); 9464 is health and
# metrics, on loopback too unless CIPHER_HUB_SERVER__MANAGEMENT_LISTEN says otherwise.
EXPOSE 8420 9464
VOLUME ["/var/lib/cipher-hub"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/cipher-hub", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/cipher-hub"]
CMD ["serve"]

# -- a program built from source ---------------------------------------------------------------------
FROM ${RUST} AS builder
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates cmake gcc g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --package cipher-hub

FROM ${BASE} AS assemble
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /src/target/dist/cipher-hub /rootfs/usr/local/bin/cipher-hub
RUN set -eu; \
    ldd /rootfs/usr/local/bin/cipher-hub > /libraries; \
    ! grep 'not found' /libraries; \
    for library in $(grep -o '/[^ ]*' /libraries); do \
      install -D -m 0755 "$library" "/rootfs$library"; \
    done; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ca-certificates.crt; \
    echo 'hub:x:65532:65532::/var/lib/cipher-hub:/nonexistent' > /rootfs/etc/passwd; \
    echo 'hub:x:65532:' > /rootfs/etc/group; \
    install -d -m 0700 -o 65532 -g 65532 /rootfs/var/lib/cipher-hub

FROM scratch AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Cipher Hub" \
      org.opencontainers.image.description="Key management gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=assemble /rootfs /
USER 65532:65532
ENV PATH=/usr/local/bin \
    CIPHER_HUB__DATA_DIR=/var/lib/cipher-hub
WORKDIR /var/lib/cipher-hub
EXPOSE 8420 9464
VOLUME ["/var/lib/cipher-hub"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/usr/local/bin/cipher-hub", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/cipher-hub"]
CMD ["serve"]
