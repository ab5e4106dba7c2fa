// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const head = `<!-- Made by make generate of the comments in ` + classSource + ` and ` + claimSource + `. Do not edit. -->

# Parameters

What can be said about spaces, in the ` + "`opaque.parameters`" + ` of a DeviceClass or a
ResourceClaim. All objects have ` + "`apiVersion: %s`" + `, whatever the
driver's name is in the installation.

* An administrator writes a **%s** into a DeviceClass. It says what spaces of
  the class are like, and what a claim may choose.
* A user writes a **%s** into a ResourceClaim or a ResourceClaimTemplate. It
  can only narrow down what the class gives.

Neither is taken in the other's place. The scheduler copies both into the claim when it
allocates it: a change of a class is for claims that are allocated after it.

Parameters of an unknown kind, unknown fields, values of the wrong type and unknown words
are refused when the object is written, by an admission policy of the chart. The controller
validates everything else once a claim is allocated. It reports all errors of an object, each
with the field's path, in the condition ` + "`Ready`" + ` of the claim (reason ` + "`InvalidParameters`" + `) and in
events on the claim and its pods. Fields are case-sensitive, and none can be given twice.

| Type | How it is written |
|---|---|
| duration | a number with a unit, such as ` + "`90s`, `10m`, `1h30m`" + ` |
| quantity | as everywhere in Kubernetes, such as ` + "`500m`, `2`, `8Gi`" + `; an exponent has at most two digits |
| LimitRangeItem | as in ` + "`spec.limits`" + ` of a [LimitRange](https://kubernetes.io/docs/concepts/policy/limit-range/) |
| boolean | ` + "`true` or `false`" + ` |

`

// generate writes the page about the types in a file.
func generate(files ...string) ([]byte, error) {
	r, err := newReader(files...)
	if err != nil {
		return nil, err
	}
	class, err := r.kind(spaceapi.SpaceClassConfigKind)
	if err != nil {
		return nil, err
	}
	claim, err := r.kind(spaceapi.SpaceClaimConfigKind)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, head, spaceapi.APIVersion, class.name, claim.name)
	overview(&out, class, claim)
	for _, k := range []kind{class, claim} {
		describe(&out, k)
	}
	fmt.Fprint(&out, "\n## Where a claim's mountPath cannot be\n\n| Directory | Below it | Why |\n|---|---|---|\n")
	for _, reserved := range spaceapi.ReservedMountPaths() {
		below := "can be"
		if reserved.Below {
			below = "cannot be"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", strings.Join(reserved.Paths, "`, `"), below, reserved.Why)
	}
	return out.Bytes(), nil
}

// overview says which field is in which kind.
func overview(out *bytes.Buffer, class, claim kind) {
	mark := map[bool]string{true: "yes", false: "no"}
	in := func(k kind, name string) bool {
		return slices.ContainsFunc(k.fields, func(f field) bool { return f.name == name })
	}
	fmt.Fprintf(out, "| Field | %s | %s |\n|---|---|---|\n", class.name, claim.name)
	for _, f := range class.fields {
		fmt.Fprintf(out, "| `%s` | yes | %s |\n", f.name, mark[in(claim, f.name)])
	}
	for _, f := range claim.fields {
		if !in(class, f.name) {
			fmt.Fprintf(out, "| `%s` | no | yes |\n", f.name)
		}
	}
}

func describe(out *bytes.Buffer, k kind) {
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n```yaml\n%s\n```\n", k.name, k.meaning, k.example)
	for _, f := range k.fields {
		fmt.Fprintf(out, "\n### %s: `%s`\n", k.name, f.name)
		entry(out, f)
		for _, inner := range f.inner {
			fmt.Fprintf(out, "\n#### %s: `%s.%s`\n", k.name, f.name, inner.name)
			entry(out, inner)
		}
	}
}

func entry(out *bytes.Buffer, f field) {
	fmt.Fprintf(out, "\n%s\n\n* Type: %s\n* Default: %s\n", f.meaning, f.typ, f.byDefault)
	if f.bounds != "" {
		fmt.Fprintf(out, "* Bounds: %s\n", f.bounds)
	}
	for _, v := range f.values {
		if strings.Contains(f.bounds, v.name) {
			fmt.Fprintf(out, "* `%s`: %s\n", v.name, v.meaning)
		}
	}
}
