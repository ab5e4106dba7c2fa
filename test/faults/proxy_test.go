// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package faults_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/test/faults"
)

// server is an API server that returns a Namespace for each request, and counts requests.
type server struct{ requests atomic.Int32 }

func (s *server) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.requests.Add(1)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"answer"}}`)
}

// proxied returns a client that reaches the server through a proxy.
func proxied(t *testing.T, handler http.Handler) (*faults.Proxy, kubernetes.Interface) {
	t.Helper()
	upstream := httptest.NewServer(handler)
	t.Cleanup(upstream.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	proxy := faults.New(t, &rest.Config{Host: upstream.URL}, file)
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return proxy, client
}

func TestProxy_callsTheIntercept(t *testing.T) {
	proxy, client := proxied(t, &server{})
	var got []string
	proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		got = append(got, fmt.Sprintf("%s in %q, writes: %t", call, call.Namespace, call.Writes()))
		return faults.Failed
	})
	ctx := t.Context()
	named := metav1.ObjectMeta{Name: "n"}
	for _, request := range []func() error{
		func() error { _, err := client.Discovery().ServerVersion(); return err },
		func() error { _, err := client.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{}); return err },
		func() error {
			_, err := client.CoreV1().Namespaces().Finalize(ctx, &corev1.Namespace{ObjectMeta: named}, metav1.UpdateOptions{})
			return err
		},
		func() error {
			_, err := client.CoreV1().ServiceAccounts("a").Create(ctx, &corev1.ServiceAccount{ObjectMeta: named}, metav1.CreateOptions{})
			return err
		},
		func() error {
			return client.ResourceV1().ResourceClaims("a").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		},
	} {
		if err := request(); !apierrors.IsInternalError(err) {
			t.Errorf("got error %v, want an internal error", err)
		}
	}
	want := []string{
		`get  in "", writes: false`,
		`watch namespaces in "", writes: false`,
		`update namespaces/finalize n in "", writes: true`,
		`create serviceaccounts n in "a", writes: true`,
		`deletecollection resourceclaims in "a", writes: true`,
	}
	// The client retries failed requests.
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the proxy received\n%q, want\n%q", got, want)
	}
}

func TestProxy_respondsAsTheInterceptDecides(t *testing.T) {
	for name, test := range map[string]struct {
		intercept faults.Intercept
		// carriedOut is how often the API server receives the request.
		carriedOut int32
		answered   bool
	}{
		"not at all":       {nil, 1, true},
		"not in the end":   {func(faults.Call, func()) faults.Answer { return faults.Forwarded }, 1, true},
		"broken before":    {func(faults.Call, func()) faults.Answer { return faults.Broken }, 0, false},
		"failed before":    {func(faults.Call, func()) faults.Answer { return faults.Failed }, 0, false},
		"not served":       {func(faults.Call, func()) faults.Answer { return faults.NotServed }, 0, false},
		"broken after":     {func(_ faults.Call, forward func()) faults.Answer { forward(); return faults.Broken }, 1, false},
		"failed after":     {func(_ faults.Call, forward func()) faults.Answer { forward(); return faults.Failed }, 1, false},
		"answered after":   {func(_ faults.Call, forward func()) faults.Answer { forward(); return faults.Forwarded }, 1, true},
		"carried out once": {func(_ faults.Call, forward func()) faults.Answer { forward(); forward(); return faults.Forwarded }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			api := &server{}
			proxy, client := proxied(t, api)
			proxy.Intercept(test.intercept)
			ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{}, metav1.CreateOptions{})
			if (err == nil) != test.answered || test.answered && ns.Name != "answer" {
				t.Errorf("got answer %v and error %v, want an answer: %t", ns, err, test.answered)
			}
			if got := api.requests.Load(); got != test.carriedOut {
				t.Errorf("the API server received %d requests, want %d", got, test.carriedOut)
			}
		})
	}
}

func TestSetUpstream_appliesToLaterRequests(t *testing.T) {
	first, second := &server{}, &server{}
	proxy, client := proxied(t, first)
	upstream := httptest.NewServer(second)
	t.Cleanup(upstream.Close)
	for range 2 {
		if _, err := client.CoreV1().Namespaces().Get(t.Context(), "n", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		proxy.SetUpstream(t, &rest.Config{Host: upstream.URL})
	}
	if a, b := first.requests.Load(), second.requests.Load(); a != 1 || b != 1 {
		t.Errorf("the servers saw %d and %d requests, want one each", a, b)
	}
}

func TestCloseConnections_closesRequestsInProgress(t *testing.T) {
	api, started := &server{}, make(chan struct{})
	proxy, client := proxied(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			api.ServeHTTP(w, r)
			return
		}
		// A server notices that a client disconnected after it has read the body.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		close(started)
		<-r.Context().Done()
	}))
	ended := make(chan error)
	go func() {
		// The client does not retry this request.
		_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{}, metav1.CreateOptions{})
		ended <- err
	}()
	<-started
	proxy.CloseConnections()
	if err := <-ended; err == nil {
		t.Error("a request in progress got a response")
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Errorf("a later request: %v", err)
	}
}
