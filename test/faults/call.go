// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/scheme"
)

// Call is a request to the API server, in the words of its authorization.
type Call struct {
	Verb        string
	Resource    string
	Subresource string
	// Namespace is empty for objects of the cluster. A Namespace is one of them.
	Namespace string
	// Name is that of the object, also when it is about to be created. It is
	// empty when the API server chooses it, and for requests about several objects.
	Name string
}

func (c Call) String() string {
	s := c.Verb + " " + c.Resource
	if c.Subresource != "" {
		s += "/" + c.Subresource
	}
	if c.Name != "" {
		s += " " + c.Name
	}
	return s
}

// Writes says whether the call may change something.
func (c Call) Writes() bool {
	switch c.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	default:
		return false
	}
}

// callOf reads a request. What is not about an object of the API has no resource.
func callOf(r *http.Request, body []byte) Call {
	var c Call
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case path[0] == "api" && len(path) > 2:
		path = path[2:]
	case path[0] == "apis" && len(path) > 3:
		path = path[3:]
	default:
		c.Verb = strings.ToLower(r.Method)
		return c
	}
	if path[0] == "namespaces" && len(path) > 2 && path[2] != "status" && path[2] != "finalize" {
		c.Namespace, path = path[1], path[2:]
	}
	c.Resource = path[0]
	if len(path) > 1 {
		c.Name = path[1]
	}
	if len(path) > 2 {
		c.Subresource = path[2]
	}
	c.Verb = verbOf(r, c.Name)
	if c.Verb == "create" && c.Name == "" {
		c.Name = nameIn(body)
	}
	return c
}

func verbOf(r *http.Request, name string) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	switch watch := r.URL.Query().Get("watch"); {
	case watch == "true" || watch == "1":
		return "watch"
	case name == "":
		return "list"
	default:
		return "get"
	}
}

// nameIn returns the name of the object in a request. The path of a creation does
// not have it.
func nameIn(body []byte) string {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return ""
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return accessor.GetName()
}
