// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// files returns the files in an archive.
func files(t *testing.T, archive string) map[string]string {
	t.Helper()
	compressed, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer compressed.Close()
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for entries := tar.NewReader(plain); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		var content bytes.Buffer
		if err == nil {
			_, err = content.ReadFrom(entries)
		}
		if err != nil {
			t.Fatal(err)
		}
		out[header.Name] = content.String()
	}
}

func TestCollect_leavesOutSecretsAndTokens(t *testing.T) {
	t.Parallel()
	buildKubectlSpace(t)
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("pod", "claim"))
	dev, _ := credentialUser(t, ns)
	s.Kubectl(t, ns, "pod", "create", "secret", "generic", "password", "--from-literal=password=hunter22hunter22")
	s.Kubectl(t, ns, "pod", "create", "configmap", "leaked", "--from-file=token=/etc/claim/token")
	// It crashes once.
	crash := framework.WithScript("test -e /data/crashed && sleep infinity; touch /data/crashed; echo hello; cat /var/run/secrets/kubernetes.io/serviceaccount/token; exit 3", framework.NewPod("crash"))
	crash.Spec.Volumes = []corev1.Volume{{Name: "data"}}
	crash.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	env.StartPod(t, s.Namespace, crash)
	framework.Await(t, framework.Pod(env.Client, s.Namespace, "crash"), framework.That("restarted", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].RestartCount > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
	}))

	archive := filepath.Join(t.TempDir(), "claim.tgz")
	admin := user{env.Admin(), spaceapi.DefaultDriverName, ns}
	_, errOut := admin.KubectlSpace(t, admin.args("collect", "claim", "-o", archive)...)
	if errOut != "" {
		t.Errorf("kubectl space collect prints %s", errOut)
	}
	collected := files(t, archive)
	for name, words := range map[string]string{
		"claim.txt":                                  s.Namespace,
		s.Namespace + "/namespace.txt":               "Active",
		s.Namespace + "/configmaps.yaml":             "name: leaked",
		s.Namespace + "/pods.yaml":                   "name: crash",
		s.Namespace + "/events.yaml":                 "name: crash.",
		s.Namespace + "/pods/crash.txt":              "Last State:",
		s.Namespace + "/pods/crash/ctr.previous.log": "hello",
	} {
		if !strings.Contains(collected[name], words) {
			t.Errorf("%s does not contain %q, but\n%s", name, words, collected[name])
		}
	}
	for name, content := range collected {
		checkNoToken(t, name, content)
		for _, secret := range []string{"hunter22", "aHVudGVyMjJodW50ZXIyMg"} {
			if strings.Contains(content, secret) {
				t.Errorf("%s contains a Secret", name)
			}
		}
	}

	// A user who can use the space, and none of its neighbors.
	config := filepath.Join(t.TempDir(), "space.kubeconfig")
	printed, _ := dev.KubectlSpace(t, dev.args("kubeconfig", "claim", "--exec")...)
	if err := os.WriteFile(config, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut = dev.KubectlSpace(t, dev.args("collect", "namespace/"+s.Namespace, "-o", archive, "--kubeconfig", config)...)
	collected = files(t, archive)
	if !strings.Contains(collected[s.Namespace+"/pods.yaml"], "name: crash") || !strings.Contains(errOut, "You do not have permission to ") || !strings.Contains(errOut, strings.TrimSpace(collected["missing.txt"])) {
		t.Errorf("with the permissions of the space, kubectl space collect prints %s, and the archive has\n%s", errOut, collected["missing.txt"])
	}
	if _, errOut, err := dev.TryKubectlSpace(t.Context(), dev.args("collect", "namespace/"+s.Namespace, "-o", archive)...); err == nil || !strings.Contains(errOut, "nothing in "+s.Namespace+" could be read") {
		t.Errorf("kubectl space collect without permissions in the space: error %v: %s", err, errOut)
	}
}
