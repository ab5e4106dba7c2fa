// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Request sends a request to the API server, and returns its error.
type Request func(context.Context) error

// IsDenied reports whether the API server denied a request with status 401 or 403.
func IsDenied(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// AwaitAllowed repeats a request until it succeeds. New permissions take effect with a delay, because
// authorizers and admission plugins of the API server have caches.
func AwaitAllowed(t testing.TB, what string, request Request) {
	t.Helper()
	awaitError(t, what, "allowed", request, func(err error) bool { return err == nil })
}

// AwaitDenied repeats a request until it fails with an error that contains all words or, without words,
// until it is denied with status 401 or 403.
func AwaitDenied(t testing.TB, what string, request Request, words ...string) {
	t.Helper()
	denied := IsDenied
	if len(words) > 0 {
		denied = func(err error) bool { return lacks(err, words) == "" }
	}
	awaitError(t, what, fmt.Sprintf("denied with %q", words), request, denied)
}

// CheckDenied fails the test unless an error contains all words.
func CheckDenied(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if word := lacks(err, words); word != "" {
		t.Errorf("%s: got error %v, want one with %q", what, err, word)
	}
}

// lacks returns the first word that an error does not contain.
func lacks(err error, words []string) string {
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			return word
		}
	}
	return ""
}

func awaitError(t testing.TB, what, state string, request Request, is func(error) bool) {
	t.Helper()
	Eventually(t, what+" to be "+state, func(ctx context.Context) error {
		if err := request(ctx); !is(err) {
			return fmt.Errorf("got error %v", err) //nolint:errorlint // it may be nil
		}
		return nil
	})
}

// Call is the content of a request to the API server. It is a dry run, unless it is Stored.
type Call struct {
	verb, path, body string
	stored           bool
	// As is the user to impersonate.
	As string
}

// Get reads.
func Get(path string) Call { return Call{verb: "GET", path: path} }

// Post creates.
func Post(path, body string) Call { return Call{verb: "POST", path: path, body: body} }

// Put replaces.
func Put(path, body string) Call { return Call{verb: "PUT", path: path, body: body} }

// Patch applies a merge patch.
func Patch(path, body string) Call { return Call{verb: "PATCH", path: path, body: body} }

// Delete deletes.
func Delete(path string) Call { return Call{verb: "DELETE", path: path} }

// Stored returns the call without dry run.
func (c Call) Stored() Call {
	c.stored = true
	return c
}

func (c Call) String() string { return c.verb + " " + c.path }

// IsZero reports whether the call is empty.
func (c Call) IsZero() bool { return c.path == "" }

// By returns the request of a client.
func (c Call) By(client kubernetes.Interface) Request {
	return func(ctx context.Context) error {
		request := client.CoreV1().RESTClient().Verb(c.verb).RequestURI(c.path)
		exec := strings.Contains(c.path, "/exec?")
		if c.verb != "GET" && !exec && !c.stored {
			request = request.Param("dryRun", "All")
		}
		if c.body != "" {
			kind := "application/json"
			if c.verb == "PATCH" {
				kind = string(types.MergePatchType)
			}
			request = request.SetHeader("Content-Type", kind).Body([]byte(c.body))
		}
		if c.As != "" {
			request = request.SetHeader("Impersonate-User", c.As)
		}
		err := request.Do(ctx).Error()
		// For an authorized client, the API server requires an upgrade of the connection.
		if exec && apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "pgrade request required") {
			return nil
		}
		return err
	}
}

// Paths of objects that are not in a namespace.
const (
	ResourceSlices      = "/apis/resource.k8s.io/v1/resourceslices"
	ClusterRoleBindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
)

// NamespacePath is the path of a Namespace, or of all.
func NamespacePath(rest string) string { return strings.TrimSuffix("/api/v1/namespaces/"+rest, "/") }

// CorePath is the path of objects of the core group in a namespace.
func CorePath(namespace, rest string) string { return "/api/v1/namespaces/" + namespace + "/" + rest }

// RBACPath is the path of Roles or RoleBindings in a namespace.
func RBACPath(namespace, rest string) string {
	return "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/" + rest
}

// DRAPath is the path of ResourceClaims or ResourceClaimTemplates in a namespace.
func DRAPath(namespace, rest string) string {
	return "/apis/resource.k8s.io/v1/namespaces/" + namespace + "/" + rest
}

// NetworkPolicyPath is the path of a NetworkPolicy in a namespace, or of all.
func NetworkPolicyPath(namespace, name string) string {
	return strings.TrimSuffix("/apis/networking.k8s.io/v1/namespaces/"+namespace+"/networkpolicies/"+name, "/")
}

// JSON is the body of a request with an object.
func JSON(object any) string {
	raw, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// BindingBody is the body of a RoleBinding or ClusterRoleBinding for a ServiceAccount.
func BindingBody(kind, name, role, namespace, account string) string {
	return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":%q,"metadata":{"name":%q},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},
		"subjects":[{"kind":"ServiceAccount","namespace":%q,"name":%q}]}`, kind, name, role, namespace, account)
}

// TokenBody is the body of a request for a token bound to an object, or to none.
func TokenBody(kind, name string, uid types.UID) string {
	if kind == "" {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`
	}
	return fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"boundObjectRef":{"apiVersion":"v1","kind":%q,"name":%q,"uid":%q}}}`,
		kind, name, uid)
}

// SliceBody is the body of a ResourceSlice for the nodes that a JSON field selects.
func SliceBody(driver, nodes string) string {
	return fmt.Sprintf(`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","metadata":{"name":"attempt"},
		"spec":{"driver":%q,"pool":{"name":"attempt","generation":1,"resourceSliceCount":1},%s}}`, driver, nodes)
}
