// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	"k8s.io/utils/ptr"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// mustPrepare prepares a claim, and checks the response to the kubelet, what containers get, and the
// files on the node.
func (n *node) mustPrepare(t *testing.T, p *plugin, c *claim, others ...*claim) {
	t.Helper()
	devices, err := p.prepare(t, c)
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	n.checkDevices(t, c, devices)
	n.checkPaths(t, append(others, c)...)
}

// mustUnprepare unprepares a claim, and checks that the node only has the files of the others.
func (n *node) mustUnprepare(t *testing.T, p *plugin, c *claim, others ...*claim) {
	t.Helper()
	if err := p.unprepare(t, c); err != nil {
		t.Fatalf("Unprepare: %v", err)
	}
	n.checkPaths(t, others...)
}

// checkDevices checks the response to the kubelet, and what containers get from it.
func (n *node) checkDevices(t *testing.T, c *claim, devices []*drav1.Device) {
	t.Helper()
	if len(devices) != len(c.spaces) {
		t.Fatalf("the claim has %d devices, want %d", len(devices), len(c.spaces))
	}
	specs, err := cdi.NewCache(cdi.WithSpecDirs(n.cdi), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if broken := specs.GetErrors(); len(broken) > 0 {
		t.Errorf("the container runtime cannot read %v", broken)
	}
	for i, result := range c.Status.Allocation.Devices.Results {
		d := devices[i]
		if !slices.Equal(d.RequestNames, []string{result.Request}) || d.PoolName != result.Pool || d.DeviceName != result.Device ||
			d.GetShareId() != string(ptr.Deref(result.ShareID, "")) || len(d.CdiDeviceIds) != 1 {
			t.Errorf("device %d is %v, want that of %v", i, d, result)
			continue
		}
		device := specs.GetDevice(d.CdiDeviceIds[0])
		if device == nil {
			t.Errorf("the container runtime does not find device %s", d.CdiDeviceIds[0])
			continue
		}
		n.checkContainer(t, device, c.spaces[i])
	}
}

// checkContainer checks the environment variables and mounts of one space.
func (n *node) checkContainer(t *testing.T, device *cdi.Device, space spaceapi.SpaceStatus) {
	t.Helper()
	edits := device.ContainerEdits
	env := strings.Join(edits.Env, "\n") + "\n"
	for _, want := range []string{"CLUSTER=" + space.Server + "\n", "NAMESPACE=" + space.Namespace + "\n", "/kubeconfig\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment of containers lacks %q: %q", want, env)
		}
	}
	if len(edits.Mounts) != 3 {
		t.Fatalf("containers have %d mounts, want three", len(edits.Mounts))
	}
	ctx, cancel := callContext(t)
	defer cancel()
	devices := edits.Mounts[2]
	if content, err := os.ReadFile(devices.HostPath); err != nil || !strings.HasPrefix(devices.ContainerPath, "/var/run/kubernetes.io/") || !strings.Contains(string(content), space.Namespace) {
		t.Errorf("containers have at %s, error %v, %s", devices.ContainerPath, err, content)
	}
	for _, mount := range edits.Mounts[:2] {
		if err := n.credentialsError(ctx, mount.HostPath, edits.Mounts[0].ContainerPath, space); err != nil {
			t.Errorf("the mount at %s: %v", mount.ContainerPath, err)
		}
	}
}

// credentialsError returns an error unless a directory, which has another path in containers, contains
// valid credentials of the space.
func (n *node) credentialsError(ctx context.Context, dir, inContainer string, space spaceapi.SpaceStatus) error {
	for name, want := range map[string]string{"namespace": space.Namespace, "ca.crt": string(env.Cluster.CA())} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || strings.TrimSpace(string(got)) != strings.TrimSpace(want) {
			return fmt.Errorf("%s is %q, error %w, want %q", name, got, err, want)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return err
	}
	if string(text) != space.Kubeconfig {
		return fmt.Errorf("the kubeconfig differs from the status of the claim: %s", text)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(bytes.ReplaceAll(text, []byte(inContainer), []byte(dir)))
	if err != nil {
		return fmt.Errorf("the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("the kubeconfig: %w", err)
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("the token is invalid: %w", err)
	}
	user := review.Status.UserInfo
	if want := fmt.Sprintf("system:serviceaccount:%s:%s", space.Namespace, space.ServiceAccount); user.Username != want || user.UID != string(space.ServiceAccountUID) {
		return fmt.Errorf("the token is of %s, UID %s, want %s, UID %s", user.Username, user.UID, want, space.ServiceAccountUID)
	}
	if node := user.Extra["authentication.kubernetes.io/node-name"]; len(node) != 1 || node[0] != n.name {
		return fmt.Errorf("the token is bound to node %v, want %s", node, n.name)
	}
	return nil
}

// checkPaths checks that the node has exactly the files of these claims.
func (n *node) checkPaths(t *testing.T, claims ...*claim) {
	t.Helper()
	wrong := n.wrongPaths(t, claims)
	// While a renewal in the background renames a file, a list of the directory may contain neither the
	// old nor the new file.
	for range 3 {
		if len(wrong) == 0 {
			break
		}
		n.awaitNothingTemporary(t)
		wrong = n.wrongPaths(t, claims)
	}
	for _, what := range wrong {
		t.Error(what)
	}
}

// wrongPaths returns the missing and the unexpected files.
func (n *node) wrongPaths(t *testing.T, claims []*claim) []string {
	t.Helper()
	lacks := map[string]int{}
	for _, c := range claims {
		lacks[fmt.Sprintf("metadata.json of claim %s", c.UID)]++
		lacks[fmt.Sprintf("CDI spec of claim %s", c.UID)]++
		for _, name := range []string{"kubeconfig", "token", "ca.crt", "namespace"} {
			lacks[fmt.Sprintf("%s of claim %s", name, c.UID)] += len(c.spaces)
		}
		for _, request := range c.Spec.Devices.Requests {
			lacks[fmt.Sprintf("%s.json of claim %s", request.Name, c.UID)]++
		}
	}
	for _, path := range n.newPaths(t) {
		info, err := os.Lstat(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return []string{err.Error()}
		}
		i := slices.IndexFunc(claims, func(c *claim) bool { return strings.Contains(path, string(c.UID)) })
		name := filepath.Base(path)
		switch {
		case i < 0, name == "metadata.json" && !isMetadataOf(path, claims[i]):
			lacks[path]--
		case isBelow(path, n.cdi):
			lacks[fmt.Sprintf("CDI spec of claim %s", claims[i].UID)]--
		case !info.IsDir():
			lacks[fmt.Sprintf("%s of claim %s", name, claims[i].UID)]--
		}
	}
	var wrong []string
	for what, count := range lacks {
		if count != 0 {
			wrong = append(wrong, fmt.Sprintf("the node lacks %d of %s", count, what))
		}
	}
	return wrong
}

// isTemporary reports whether a file is in a staging directory.
func (n *node) isTemporary(path string) bool { return isBelow(path, n.staging(path)) }

// staging returns the staging directory for a path: that for CDI specs, or that for claims.
func (n *node) staging(path string) string {
	if isBelow(path, n.cdi) {
		return filepath.Join(n.cdi, "."+spaceapi.DefaultDriverName)
	}
	return filepath.Join(n.artifacts, spaceapi.DefaultDriverName, ".staging")
}

// awaitNothingTemporary waits until the node has no unfinished files.
func (n *node) awaitNothingTemporary(t *testing.T) {
	t.Helper()
	var temporary []string
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Timeout, true, func(context.Context) (bool, error) {
		temporary = slices.DeleteFunc(n.newPaths(t), func(path string) bool { return !n.isTemporary(path) })
		return len(temporary) == 0, nil
	})
	if err != nil {
		t.Errorf("waited for the kubelet plugin to remove %v: %v", temporary, err)
	}
}

// startAfterKill starts the kubelet plugin, and waits until it has removed the unfinished files of the
// killed one.
func (n *node) startAfterKill(t *testing.T) *plugin {
	t.Helper()
	p := n.start(t)
	n.awaitNothingTemporary(t)
	return p
}

func isBelow(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

// isMetadataOf reports whether a file contains the metadata of a prepared claim.
func isMetadataOf(path string, c *claim) bool {
	if !strings.HasSuffix(path, string(c.UID)+"/metadata.json") {
		return false
	}
	raw, err := os.ReadFile(path)
	var metadata struct {
		UID    string
		Spaces []struct{ Namespace string }
	}
	if err != nil || json.Unmarshal(raw, &metadata) != nil || metadata.UID != string(c.UID) || len(metadata.Spaces) != len(c.spaces) {
		return false
	}
	for i, space := range metadata.Spaces {
		if space.Namespace != c.spaces[i].Namespace {
			return false
		}
	}
	return true
}
