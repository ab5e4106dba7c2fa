// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
)

// read reads a claim from a server that responds with 404 and this body.
func read(t *testing.T, mediaType, body string) error {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	api, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.ResourceV1().ResourceClaims("ns").Get(t.Context(), "claim", metav1.GetOptions{})
	return err
}

func TestIsNotFound_isFalseForAKindThatIsNotServed(t *testing.T) {
	notFound := apierrors.NewNotFound(resourceapi.Resource("resourceclaims"), "claim")
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"an object that does not exist":           {read(t, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":"claim","group":"resource.k8s.io","kind":"resourceclaims"}}`), true},
		"the same, wrapped":                       {fmt.Errorf("read: %w", notFound), true},
		"a kind that is not served":               {read(t, "text/plain", "404 page not found\n"), false},
		"a kind that is not served, wrapped":      {fmt.Errorf("read: %w", read(t, "text/plain", "404 page not found\n")), false},
		"a response of a load balancer":           {read(t, "text/html", "<html>no backend</html>"), false},
		"a version that is not served, as an API": {read(t, "application/json", `{"paths":["/api"]}`), false},
		"another error":                           {errors.New("broken"), false},
		"no error":                                {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := client.IsNotFound(test.err); got != test.want {
				t.Errorf("%v: %t, want %t", test.err, got, test.want)
			}
			if got := client.IgnoreNotFound(test.err); (got == nil) != (test.want || test.err == nil) {
				t.Errorf("%v: IgnoreNotFound returned %v", test.err, got)
			}
		})
	}
}
