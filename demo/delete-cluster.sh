#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Deletes the demo's cluster, in any state. Built programs stay in build/.
set -euo pipefail
# shellcheck source=demo/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case $(cluster_flavor) in
  kind) as_caller kind delete cluster --name "$CLUSTER_NAME" ;;
  embedded) space_cluster delete --name "$CLUSTER_NAME" ;;
esac
rm -f "$KUBECONFIG" "$FLAVOR_FILE"
