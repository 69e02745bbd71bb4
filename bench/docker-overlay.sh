#!/usr/bin/env bash
# Docker's own overlay over Consul (Docker 20.10.5) and vtep's network plugin, side by side on this machine: see
# bench/docker-overlay/run.ts, and --help. Needs root; cleans up after itself.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
node scripts/setup.mjs test
node_modules/.bin/tsc -p tsconfig.bench.json
exec node .cache/bench/bench/docker-overlay/run.js "$@"
