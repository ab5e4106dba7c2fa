// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/dynamic-resource-allocation/api/metadata"
	metadatav1alpha1 "k8s.io/dynamic-resource-allocation/api/metadata/v1alpha1"
	metadatav1beta1 "k8s.io/dynamic-resource-allocation/api/metadata/v1beta1"
	"k8s.io/dynamic-resource-allocation/devicemetadata"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
)

// metadataFor reads what containers that use a claim's devices have at the paths of Kubernetes, as
// programs do, by the paths.
func (n *node) metadataFor(devices []kubeletplugin.Device) map[string]metadata.DeviceMetadata {
	n.t.Helper()
	out := map[string]metadata.DeviceMetadata{}
	for _, device := range devices {
		for _, m := range n.containerEdits(device.CDIDeviceIDs[0]).Mounts {
			path, standard := strings.CutPrefix(m.ContainerPath, metadata.ContainerDir+"/")
			if !standard {
				continue
			}
			content, err := os.ReadFile(m.HostPath)
			n.must(err)
			var object metadata.DeviceMetadata
			var invalid error
			var version schema.GroupVersionKind
			n.must(devicemetadata.DecodeMetadataFromStream(json.NewDecoder(bytes.NewReader(content)), &object,
				devicemetadata.DecodeMetadataWithValidationResult(&invalid), devicemetadata.DecodeMetadataStoreGVKResult(&version)))
			n.must(invalid)
			if version.GroupVersion() != metadatav1beta1.SchemeGroupVersion {
				n.t.Errorf("%s begins with version %s", path, version)
			}
			if _, twice := out[path]; twice {
				n.t.Errorf("%s is mounted twice", path)
			}
			out[path] = object
		}
	}
	return out
}

func attributes(of metadata.Device) map[string]string {
	out := map[string]string{}
	for name, value := range of.Attributes {
		out[string(name)] = *value.StringValue
	}
	return out
}

func TestPrepare_writesDeviceMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := readyFor(t, claimFor("build", "test/small", "test/small"), "account-1")
		for i := range claim.Status.Allocation.Devices.Results {
			claim.Status.Allocation.Devices.Results[i].Device = "space-" + string(rune('0'+i))
		}
		claim = n.create(readyFor(t, claim, "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		spaces := n.driver.tracked.get(claim.UID).prepared.Spaces
		got := n.metadataFor(devices)
		const file = "/space.resource.example.com-metadata.json"
		build, test := got["resourceclaimtemplates/test-claim/build"+file], got["resourceclaimtemplates/test-claim/test"+file]
		if len(got) != 2 || len(build.Requests) != 1 || len(test.Requests) != 1 || len(build.Requests[0].Devices) != 1 || len(test.Requests[0].Devices) != 2 {
			t.Fatalf("got %+v", got)
		}
		for _, object := range got {
			if object.Namespace != claim.Namespace || object.Name != claim.Name || object.UID != claim.UID || ptr.Deref(object.PodClaimName, "") != "test-claim" {
				t.Errorf("got metadata of %+v, pod claim name %v", object.ObjectMeta, object.PodClaimName)
			}
		}
		if name := test.Requests[0].Name; name != "test/small" {
			t.Errorf("got request %q", name)
		}
		for i, device := range append(build.Requests[0].Devices, test.Requests[0].Devices...) {
			if device.Driver != testDriver || device.Pool != "spaces" || device.Name != "space-"+string(rune('0'+i)) {
				t.Errorf("got device %+v", device)
			}
			dir := "/etc/test-claim/" + spaces[i].Subdir
			want := map[string]string{"namespace": spaces[i].Namespace, "server": testServer, "directory": dir, "kubeconfig": dir + "/kubeconfig"}
			if got := attributes(device); !maps.Equal(got, want) {
				t.Errorf("got attributes %v, want %v", got, want)
			}
		}

		// Programs of Kubernetes 1.36 know an older version only.
		content, err := os.ReadFile(filepath.Join(n.driver.store.path(claim.UID), "device-metadata", "build.json"))
		n.must(err)
		decoder := json.NewDecoder(bytes.NewReader(content))
		var first, second metadatav1alpha1.DeviceMetadata
		n.must(decoder.Decode(&first))
		n.must(decoder.Decode(&second))
		if second.APIVersion != metadatav1alpha1.SchemeGroupVersion.String() || len(second.Requests) != 1 || decoder.More() {
			t.Errorf("the second version is %+v", second)
		}
	})
}

func TestPrepare_writesDeviceMetadataOfANamedClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.server = APIServer{URL: "https://" + strings.Repeat("long.", 20) + "example.com", CA: []byte("the CA")}
		n.restart()
		claim := readyFor(t, withClassConfig(claimFor("a"), `,"disableEtcMount":true`), "account-1")
		claim.Annotations = nil
		devices, err := prepareClaim(t.Context(), n.driver, n.create(claim))
		n.must(err)
		got, found := n.metadataFor(devices)["resourceclaims/pod-test-claim-x7x7x/a/space.resource.example.com-metadata.json"]
		if !found || got.PodClaimName != nil {
			t.Fatalf("got %+v", got)
		}
		// An attribute has at most 64 characters.
		if got := attributes(got.Requests[0].Devices[0]); got["directory"] != "/var/run/claim-artifacts/claim-uid" || got["server"] != "" {
			t.Errorf("got attributes %v", got)
		}
	})
}

func TestResync_restoresDeviceMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		namespace := func() string {
			t.Helper()
			for _, object := range n.metadataFor(devices) {
				return attributes(object.Requests[0].Devices[0])["namespace"]
			}
			return ""
		}
		before := namespace()
		dir := filepath.Join(n.driver.store.path(claim.UID), deviceMetadataDir)
		n.must(os.Remove(filepath.Join(dir, "a.json")))
		n.resync()
		if got := namespace(); got != before {
			t.Errorf("got namespace %q, want %q", got, before)
		}
		n.must(os.RemoveAll(dir))
		n.resync()
		if got := namespace(); got != before {
			t.Errorf("got namespace %q, want %q", got, before)
		}

		deallocated := claim.DeepCopy()
		deallocated.Status = resourceapi.ResourceClaimStatus{}
		n.update(deallocated)
		n.update(readyFor(t, allocatedAgain(claim), "account-2"))
		synctest.Wait()
		if got, want := namespace(), n.driver.tracked.get(claim.UID).prepared.Spaces[0].Namespace; got != want || got == before {
			t.Errorf("after another allocation, got namespace %q, want %q", got, want)
		}
	})
}

// An update of the plugin adds what an earlier version did not write.
func TestResync_addsDeviceMetadataOfEarlierVersions(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		devices, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.driver.Stop()
		want := n.metadataFor(devices)
		earlier := n.driver.tracked.get(claim.UID).prepared
		earlier.PodClaimName, earlier.Spaces[0].Request, earlier.Spaces[0].ContainerDir = "", "", ""
		n.must(n.driver.store.updateMetadata(earlier))
		n.must(os.RemoveAll(filepath.Join(n.driver.store.path(claim.UID), deviceMetadataDir)))
		n.must(os.Remove(n.driver.specs.path(claim.UID)))
		n.start()
		n.resync()
		n.resync()
		if got := n.metadataFor(devices); len(got) != len(want) || len(got) == 0 {
			t.Errorf("got %v, want %v", got, want)
		}
		stored, err := n.driver.store.get(claim.UID)
		n.must(err)
		if stored.Spaces[0].Request != "a" || stored.PodClaimName != "test-claim" {
			t.Errorf("the metadata of the claim is %+v", stored)
		}
	})
}
