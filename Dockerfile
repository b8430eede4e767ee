# The discovery server and the sidecar in one image; the command is an argument: docker run fingerpost serve ...
# Without one it prints its help.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY tests tests
# The caches hold crates and objects between builds; the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin fingerpost && cp target/release/fingerpost /fingerpost

FROM debian:bookworm-slim
COPY --from=build /fingerpost /usr/local/bin/fingerpost
# A number, so that runAsNonRoot can be checked without a look into the image. No capability is set on the program:
# serve on ports above 1023 and map 53 to them.
USER 65532:65532
ENTRYPOINT ["fingerpost"]
