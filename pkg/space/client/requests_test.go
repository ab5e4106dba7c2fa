// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
)

// counted returns a client and what was counted of its last request.
func counted(t *testing.T, url string) (kubernetes.Interface, func() string) {
	t.Helper()
	var (
		mutex sync.Mutex
		last  string
	)
	config := &rest.Config{Host: url, QPS: -1}
	client.Count(config, func(verb, resource, code string) {
		mutex.Lock()
		defer mutex.Unlock()
		last = strings.Join([]string{verb, resource, code}, " ")
	})
	api, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return api, func() string {
		mutex.Lock()
		defer mutex.Unlock()
		return last
	}
}

func TestRequestsAreCountedByVerbResourceAndCode(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	api, last := counted(t, server.URL)
	// All are refused, which is all that is to be seen of them.
	for want, do := range map[string]func(ctx context.Context){
		"list namespaces 403": func(ctx context.Context) { _, _ = api.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}) },
		"get namespaces 403":  func(ctx context.Context) { _, _ = api.CoreV1().Namespaces().Get(ctx, "x", metav1.GetOptions{}) },
		"update namespaces/status 403": func(ctx context.Context) {
			_, _ = api.CoreV1().Namespaces().UpdateStatus(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.UpdateOptions{})
		},
		"delete namespaces 403":    func(ctx context.Context) { _ = api.CoreV1().Namespaces().Delete(ctx, "x", metav1.DeleteOptions{}) },
		"get pods 403":             func(ctx context.Context) { _, _ = api.CoreV1().Pods("status").Get(ctx, "status", metav1.GetOptions{}) },
		"list pods 403":            func(ctx context.Context) { _, _ = api.CoreV1().Pods("x").List(ctx, metav1.ListOptions{}) },
		"watch resourceclaims 403": func(ctx context.Context) { _, _ = api.ResourceV1().ResourceClaims("").Watch(ctx, metav1.ListOptions{}) },
		"deletecollection secrets 403": func(ctx context.Context) {
			_ = api.CoreV1().Secrets("x").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		},
		"create serviceaccounts/token 403": func(ctx context.Context) {
			_, _ = api.CoreV1().ServiceAccounts("x").CreateToken(ctx, "y", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		},
		"create rolebindings 403": func(ctx context.Context) {
			_, _ = api.RbacV1().RoleBindings("x").Create(ctx, &rbacv1.RoleBinding{}, metav1.CreateOptions{})
		},
		"update resourceclaims/status 403": func(ctx context.Context) {
			_, _ = api.ResourceV1().ResourceClaims("x").UpdateStatus(ctx, &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "y"}}, metav1.UpdateOptions{})
		},
		"patch pods 403": func(ctx context.Context) {
			_, _ = api.CoreV1().Pods("x").Patch(ctx, "y", types.MergePatchType, []byte("{}"), metav1.PatchOptions{})
		},
		"get none 403": func(context.Context) { _, _ = api.Discovery().ServerVersion() },
	} {
		do(t.Context())
		if got := last(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRequestsWithoutAnAnswerAreCounted(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	api, last := counted(t, server.URL)
	if _, err := api.CoreV1().Pods("x").Get(t.Context(), "y", metav1.GetOptions{}); err == nil {
		t.Fatal("nobody listens, and yet there was an answer")
	}
	if got, want := last(), "get pods none"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
