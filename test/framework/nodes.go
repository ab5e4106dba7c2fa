// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// NodeFile is a file or directory of the kubelet plugin on a node.
type NodeFile struct {
	Node string
	Path string
	// Claim is the UID in the path, or empty.
	Claim types.UID
}

func (f NodeFile) String() string { return f.Node + ":" + f.Path }

var uid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// NodeFiles returns the files of the kubelet plugins for claims, and the directories whose names contain
// a UID.
func (e *Env) NodeFiles(ctx context.Context) ([]NodeFile, error) {
	var files []NodeFile
	for _, node := range e.Cluster.Nodes() {
		found, err := e.filesOn(ctx, node)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

func (e *Env) filesOn(ctx context.Context, node *cluster.Host) ([]NodeFile, error) {
	// find fails if a file is removed while it runs. The directories may be missing.
	script := `for dir; do if [ -d "$dir" ]; then find "$dir" -mindepth 1 \( -type d -printf '%p/\n' -o -print \); fi; done 2>/dev/null; echo complete`
	out, err := OnNode(ctx, node, "sh", "-c", script, "sh", "/run/claim-artifacts", "/run/cdi")
	if err != nil {
		return nil, err
	}
	all, complete := strings.CutSuffix(out, "complete\n")
	if !complete {
		return nil, fmt.Errorf("find the files of claims on %s: the output is incomplete", node.Name())
	}
	var files []NodeFile
	for path := range strings.Lines(all) {
		path = strings.TrimSuffix(path, "\n")
		claim := types.UID(uid.FindString(path))
		if claim != "" || !strings.HasSuffix(path, "/") {
			files = append(files, NodeFile{Node: node.Name(), Path: path, Claim: claim})
		}
	}
	return files, nil
}

// OnNode runs a command on a node, and returns its output.
func OnNode(ctx context.Context, node *cluster.Host, argv ...string) (string, error) {
	out, err := node.Command(ctx, argv...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s on %s: %w: %s", argv[0], node.Name(), err, out)
	}
	return string(out), nil
}

// FilesOf returns the files and directories of a claim on all nodes.
func (e *Env) FilesOf(t testing.TB, claim types.UID) []NodeFile {
	t.Helper()
	found, err := e.filesOf(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (e *Env) filesOf(ctx context.Context, claim types.UID) ([]NodeFile, error) {
	all, err := e.NodeFiles(ctx)
	return slices.DeleteFunc(all, func(file NodeFile) bool { return file.Claim != claim }), err
}

// AwaitNoFilesOf waits until no node has files or directories of the claim. It polls, and tolerates
// that a node reboots.
func (e *Env) AwaitNoFilesOf(t testing.TB, claim types.UID) {
	t.Helper()
	Eventually(t, "the files of claim "+string(claim)+" to be removed from the nodes", func(ctx context.Context) error {
		found, err := e.filesOf(ctx, claim)
		if err == nil && len(found) != 0 {
			err = fmt.Errorf("remaining: %v", found)
		}
		return err
	})
}

// Node returns the name of node i.
func (e *Env) Node(i int) string { return e.Cluster.Nodes()[i].Name() }

// NodeOf returns the node of a pod.
func (e *Env) NodeOf(t testing.TB, pod *corev1.Pod) *cluster.Host {
	t.Helper()
	node := e.Cluster.Node(pod.Spec.NodeName)
	if node == nil {
		t.Fatalf("pod %s/%s is on node %q, which is not part of the cluster", pod.Namespace, pod.Name, pod.Spec.NodeName)
	}
	return node
}

// KillContainer kills the first container of a pod through the container runtime, without the kubelet.
func (e *Env) KillContainer(ctx context.Context, pod *corev1.Pod) error {
	node := e.Cluster.Node(pod.Spec.NodeName)
	if node == nil || len(pod.Status.ContainerStatuses) == 0 {
		return fmt.Errorf("kill pod %s/%s: it has no container on node %q", pod.Namespace, pod.Name, pod.Spec.NodeName)
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if _, err := OnNode(ctx, node, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", id); err != nil {
		return fmt.Errorf("kill pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
