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
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.Verb)
}

var requestInfo = request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// callOf reads a request. A request for something that is not an object of the API has no
// resource.
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
