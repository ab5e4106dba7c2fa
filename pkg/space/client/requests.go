// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"net/http"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
)

// none is what a request has no better word for.
const none = "none"

// Count has all requests counted that clients of this configuration make from now
// on: by verb, by resource with its subresource, and by the answer's code. No value
// is the name of an object or of its namespace.
func Count(config *rest.Config, count func(verb, resource, code string)) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return counter{next: next, count: count}
	})
}

type counter struct {
	next  http.RoundTripper
	count func(verb, resource, code string)
}

// RoundTrip implements http.RoundTripper.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	code := none
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	verb, resource := request(r)
	c.count(verb, resource, code)
	return resp, err
}

// WrappedRoundTripper lets client-go close idle connections.
func (c counter) WrappedRoundTripper() http.RoundTripper { return c.next }

// request returns the verb as authorization has it, and the resource as in
// pods/status.
func request(r *http.Request) (verb, resource string) {
	method := strings.ToLower(r.Method)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	// Where a proxy serves the API below a path, what is before it does not matter.
	for len(parts) > 0 && parts[0] != "api" && parts[0] != "apis" {
		parts = parts[1:]
	}
	group := 2 // api/v1
	if len(parts) > 0 && parts[0] == "apis" {
		group = 3 // apis/apps/v1
	}
	if len(parts) <= group {
		return method, none
	}
	parts = parts[group:]
	// namespaces/x/pods is about pods, but namespaces/x and namespaces/x/status are
	// about the namespace.
	if len(parts) > 2 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		parts = parts[2:]
	}
	resource = parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verbOf(r, len(parts) > 1), resource
}

func verbOf(r *http.Request, named bool) string {
	watch := r.URL.Query().Get("watch")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case watch == "true" || watch == "1":
			return "watch"
		case named:
			return "get"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		if !named {
			return "deletecollection"
		}
	}
	return strings.ToLower(r.Method)
}
