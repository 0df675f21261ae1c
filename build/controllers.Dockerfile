# The image of kilonova-controllers. The context is the checkout; or a directory with the program in it
# already, which is then taken as it is (then BUILDER needs nothing but a shell).
#
#     buildah build -f build/controllers.Dockerfile -t kilonova-controllers .
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN mkdir -p /out && if [ -f kilonova-controllers ]; then install -m 0755 kilonova-controllers /out/; else \
        cargo build --release --locked -p kilonova-controllers \
        && install -m 0755 target/release/kilonova-controllers /out/; fi

# It needs the C library, and the certificates of public authorities for images that come by HTTPS.
FROM ${BASE}
COPY --from=build /out/kilonova-controllers /usr/local/bin/kilonova-controllers
USER 65532:65532
# An image that lacks a library is none.
RUN ["/usr/local/bin/kilonova-controllers", "--version"]
EXPOSE 9440
ENTRYPOINT ["/usr/local/bin/kilonova-controllers"]
