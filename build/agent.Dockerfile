# The image of kilonova-agent, with every program that it calls; libvirtd and QEMU are the node's own.
# The context is the checkout; or a directory with the program in it already, which is then taken as
# it is (then BUILDER needs nothing but a shell).
#
#     buildah build -f build/agent.Dockerfile -t kilonova-agent .
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN mkdir -p /out && if [ -f kilonova-agent ]; then install -m 0755 kilonova-agent /out/; else \
        { dpkg -s libvirt-dev pkg-config > /dev/null 2>&1 \
            || { apt-get update && apt-get install -y --no-install-recommends libvirt-dev pkg-config; }; } \
        && cargo build --release --locked -p kilonova-agent \
        && install -m 0755 target/release/kilonova-agent /out/; fi

FROM ${BASE}
# A base that has the packages is left as it is.
ARG PACKAGES="ca-certificates dnsmasq-base dnsmasq-utils genisoimage iproute2 libvirt0 nftables qemu-utils util-linux"
RUN for package in ${PACKAGES}; do dpkg -s "${package}" > /dev/null 2>&1 || missing="${missing} ${package}"; done; \
    if [ -n "${missing}" ]; then \
        apt-get update && apt-get install -y --no-install-recommends ${missing} && rm -rf /var/lib/apt/lists/*; fi
# The pod has the node's /run at /run. As a link to it, /var/run would put the pod's token, which
# Kubernetes mounts below /var/run, on the node.
RUN rm -rf /var/run && mkdir /var/run
COPY --from=build /out/kilonova-agent /usr/local/bin/kilonova-agent
# An image that lacks a library or a program is none.
RUN kilonova-agent --version && for program in dhcp_release dnsmasq genisoimage ip nft prlimit qemu-img setpriv; do \
        command -v "${program}" > /dev/null || { echo "there is no ${program}" >&2; exit 1; }; done
ENTRYPOINT ["/usr/local/bin/kilonova-agent"]
