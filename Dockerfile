# Two stages: a Rust toolchain that builds, and a small Debian that runs, as nobody.
#
#     docker build -t standin .
#     docker run -p 8080:8080 -v "$PWD/standin.yaml:/etc/standin/standin.yaml:ro" -e OPENAI_API_KEY standin
#     docker run --rm standin --help

FROM rust:1.95-slim-bookworm AS build
# The allocator's build needs make; the compiler is in the image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Crates and intermediate results stay in caches beside the image; only the binary is taken along.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release \
    && strip --strip-debug -o /standin target/release/standin

FROM debian:bookworm-slim
# The authorities that providers' certificates are signed by.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /standin /usr/local/bin/standin
COPY conf/standin.yaml /etc/standin/standin.yaml
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# With an `admin` listener on 127.0.0.1:9090; without one run with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/standin", "health"]
ENTRYPOINT ["/usr/local/bin/standin"]
CMD ["run", "--conf", "/etc/standin/standin.yaml"]
