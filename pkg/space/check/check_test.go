// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// clusterOf returns an API server with a token of a user.
func clusterOf(user string) *fake.Clientset {
	api := fake.NewClientset()
	api.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{
			UserInfo: authenticationv1.UserInfo{Username: user},
		}}, nil
	})
	return api
}

func rejectWrites(api *fake.Clientset, times int) {
	api.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		times--
		return times >= 0, nil, errors.New("denied")
	})
}

func TestUseSpace_deletesWhatItCreates(t *testing.T) {
	api := clusterOf("system:serviceaccount:ns:space")
	if err := UseSpace(t.Context(), api, "ns", true, time.Minute); err != nil {
		t.Fatal(err)
	}
	left, err := api.CoreV1().ConfigMaps("ns").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("ConfigMaps %v remain, error %v", left.Items, err)
	}
}

func TestUseSpace_rejectsTheTokenOfAnotherAccount(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	api := clusterOf("system:serviceaccount:ns:default")
	api.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		cancel()
		return false, nil, nil
	})
	err := UseSpace(ctx, api, "ns", false, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "belongs to system:serviceaccount:ns:default, not to system:serviceaccount:ns:space") {
		t.Errorf("got error %v", err)
	}
}

func TestUseSpace_failsIfTheSpaceIsReadOnly(t *testing.T) {
	api := clusterOf("system:serviceaccount:ns:space")
	rejectWrites(api, 1000)
	if err := UseSpace(t.Context(), api, "ns", false, time.Minute); err != nil {
		t.Errorf("without --write: %v", err)
	}
	err := UseSpace(t.Context(), api, "ns", true, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "create a ConfigMap in namespace ns: denied") {
		t.Errorf("got error %v", err)
	}
}

func TestUseSpace_waitsForRBAC(t *testing.T) {
	api := clusterOf("system:serviceaccount:ns:space")
	rejectWrites(api, 1)
	if err := UseSpace(t.Context(), api, "ns", true, time.Minute); err != nil {
		t.Error(err)
	}
}

func TestRun_namesAnInvalidKubeconfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	err := (&Options{}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got error %v", err)
	}
}
