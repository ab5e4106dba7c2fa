// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command parameterpolicy writes what the chart's admission policies say about
// opaque parameters, from the rules that the controller has. Run it by `make generate`.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/space-dra/space-dra-driver/pkg/space/parameters/rules"
)

const (
	// templates is seen from the repository's root.
	templates = "deployments/helm/space-dra-driver/templates/_parameters.tpl"
	// driver stands for the driver's name in the chart.
	driver = "{{ .Values.driverName }}"
)

func main() {
	if err := os.WriteFile(templates, generate(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "parameterpolicy:", err)
		os.Exit(1)
	}
}

func generate() []byte {
	var out strings.Builder
	out.WriteString("{{- /* Made by make generate of the rules in pkg/space/parameters/rules. Do not edit. */ -}}\n")
	for _, kind := range []rules.Kind{rules.Class(driver), rules.Claim(driver)} {
		fmt.Fprintf(&out, "\n{{- define \"space.variables.%s\" -}}\n", kind.Name)
		for _, v := range kind.Variables(driver, "variables.configs", "'the ' + request.kind.kind") {
			fmt.Fprintf(&out, "- name: %s\n  expression: >-\n    %s\n", v.Name, v.Expression)
		}
		out.WriteString("{{- end -}}\n")
	}
	return []byte(out.String())
}
