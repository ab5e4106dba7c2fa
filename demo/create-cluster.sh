#!/usr/bin/env bash
# Copyright The Space DRA Driver Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Creates the demo's cluster: a control plane and two nodes. It can be repeated.
#
#   CLUSTER=kind|embedded  the kind of cluster; default: kind if it is installed and a
#                          container engine is running, otherwise embedded
#   KIND_IMAGE, KIND_ARGS  node image, and more arguments, of kind create cluster
set -euo pipefail
# shellcheck source=demo/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

create_kind() {
  command -v kind >/dev/null || fail "missing: kind. Install it from https://kind.sigs.k8s.io, or use CLUSTER=embedded"
  container_engine_runs || fail "neither docker nor podman is running. Start one, or use CLUSTER=embedded"
  record_flavor kind
  if kind get clusters 2>/dev/null | grep -qx "$CLUSTER_NAME"; then
    echo "kind cluster $CLUSTER_NAME is already running"
  else
    local arguments=()
    read -ra arguments <<<"${KIND_ARGS:-}"
    # kind adds the cluster to the kubeconfig that the caller uses.
    as_caller kind create cluster --name "$CLUSTER_NAME" --config "$ROOT/demo/kind-config.yaml" --wait 3m \
      ${KIND_IMAGE:+--image "$KIND_IMAGE"} ${arguments[@]+"${arguments[@]}"}
  fi
  mkdir -p "$ROOT/build"
  kind export kubeconfig --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG"
  wait_for_kind_nodes || fail "the cluster is not complete. Delete it first: demo/delete-cluster.sh"
}

# wait_for_kind_nodes also waits for the workers. It fails if the creation of the cluster
# was interrupted: kind lists such a cluster, too.
wait_for_kind_nodes() {
  local nodes
  mapfile -t nodes < <(kind get nodes --name "$CLUSTER_NAME")
  need_tools kubectl
  "$ROOT/build/bin/kubectl" wait --for=condition=Ready --timeout=3m "${nodes[@]/#/node/}" >/dev/null
}

flavor=$(cluster_flavor)
if [ -n "${CLUSTER:-}" ] && [ "$CLUSTER" != "$flavor" ]; then
  fail "a cluster of the kind $flavor is running. Delete it first: demo/delete-cluster.sh"
fi
# The kind of cluster is recorded before anything is created, so that delete-cluster.sh
# knows it after an interruption.
case $flavor in
  kind) create_kind ;;
  embedded)
    record_flavor embedded
    space_cluster create --name "$CLUSTER_NAME" --kubeconfig "$KUBECONFIG" >/dev/null
    ;;
esac
need_tools kubectl helm
how_to_use
