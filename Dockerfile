# Two stages: a Rust toolchain that builds, and a small Debian that runs, as nobody.
#
#     docker build -t standin .                           (a guided build, see BENCHMARKS.md: two builds and a training)
#     docker build -t standin --build-arg GUIDED=no .     (a plain one)
#     docker run -p 8080:8080 -v "$PWD/standin.yaml:/etc/standin/standin.yaml:ro" -e OPENAI_API_KEY standin
#     docker run --rm standin --help

FROM rust:1.95-slim-bookworm AS build
# The allocator's build needs make, the training Python and a certificate of its own; the compiler is in the image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make openssl python3 \
    && rm -rf /var/lib/apt/lists/* \
    && rustup component add llvm-tools
ARG GUIDED=yes
WORKDIR /src
COPY . .
# Crates and intermediate results stay in caches beside the image; only the binary is taken along.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    if [ "$GUIDED" = no ]; \
    then cargo build --locked --release && cp target/release/standin /standin; \
    else benches/load/guided --output /standin; \
    fi \
    && strip --strip-debug /standin

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
