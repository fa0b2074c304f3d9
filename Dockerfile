# The service and nothing else: no development dependencies, no second Node, not root, a root file system that may be read-only.
#
#   docker build -t config-manager .
#   docker compose -f deploy/compose.yml up -d        (docs/operate.md, "In a container")

FROM node:24-bookworm-slim AS packages
WORKDIR /opt/config-manager
COPY package.json package-lock.json .npmrc ./
# What is optional is the second Node (the image brings its own) and speed-ups that would have to be compiled.
RUN npm ci --omit=dev --omit=optional

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="config-manager" \
      org.opencontainers.image.description="Reads, checks, versions and safely writes the config files of a fleet of VMs over SSH." \
      org.opencontainers.image.licenses="MIT"

# Security fixes of tini are wanted, not one version of it. npm and yarn are for building only.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /opt/yarn-* \
 && groupadd --gid 10001 config-manager \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/config-manager --shell /usr/sbin/nologin config-manager \
 && install -d -o config-manager -g config-manager -m 0700 /var/lib/config-manager /var/backups/config-manager \
 && ln -s /opt/config-manager/bin/config-manager.js /usr/local/bin/config-manager

WORKDIR /opt/config-manager
COPY --from=packages /opt/config-manager/node_modules node_modules
COPY package.json ./
COPY bin bin
COPY src src
COPY migrations migrations
COPY schemas schemas
COPY configs configs
COPY scripts/warm.ts scripts/warm.ts
# Starts the service once, as its user: an image that cannot start is not built, and the compiled code is kept for each
# container's start. Nobody but root may write it afterwards.
RUN install -d -o config-manager -g config-manager node_modules/.cache \
 && runuser -u config-manager -- node scripts/warm.ts \
 && chown -R root:root node_modules/.cache \
 && chmod -R a+rX node_modules/.cache

ENV NODE_ENV=production \
    HOME=/var/lib/config-manager \
    CONFIG_MANAGER_CONFIG=/etc/config-manager/config.yml
VOLUME ["/var/lib/config-manager", "/var/backups/config-manager"]
# Relative paths in the settings count from here.
WORKDIR /etc/config-manager
USER 10001:10001
EXPOSE 8080
# A stop may take 15 s, after which the service ends by itself: give it 20 (docker stop --time 20, stop_grace_period: 20s).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["node", "/opt/config-manager/bin/healthcheck.js"]
ENTRYPOINT ["/usr/bin/tini", "--", "node", "/opt/config-manager/bin/config-manager.js"]
CMD ["serve"]
