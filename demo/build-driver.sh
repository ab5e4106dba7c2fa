#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the driver's image and the image of the demo's pods, and loads both into
# the cluster that create-cluster.sh created. Needs Go, but no container engine.
set -euo pipefail
# shellcheck source=demo/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build_images
load_images "$ROOT/build/images/space-dra-driver.tar" "$ROOT/build/images/toolbox.tar"
