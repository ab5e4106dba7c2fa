// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
)

// Call is a request to the API server, with the attributes of its authorization.
type Call struct {
	Verb        string
	Resource    string
	Subresource string
	// Namespace is empty for cluster-scoped objects, which include Namespaces.
	Namespace string
	// Name is the name of the object, also in its creation. It is empty if the API server chooses the
	// name, and for requests about several objects.
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

// Writes reports whether the call can change an object.
func (c Call) Writes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.Verb)
}

var requestInfo = request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// callOf parses a request. Requests for other paths than objects have no resource.
func callOf(r *http.Request, body []byte) (Call, error) {
	info, err := requestInfo.NewRequestInfo(r)
	if err != nil {
		return Call{}, err
	}
	c := Call{Verb: info.Verb, Resource: info.Resource, Subresource: info.Subresource, Namespace: info.Namespace, Name: info.Name}
	if c.Resource == "namespaces" {
		c.Namespace = ""
	}
	if c.Verb == "create" && c.Name == "" {
		c.Name = nameIn(body)
	}
	return c, nil
}

// nameIn returns the name of the object in a request. The path of a creation does not contain it.
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
