// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build promcheck

// Command promcheck contains the parts of Prometheus and promtool that tests use. The rest would take
// twice as long to build: clients of Kubernetes, other protocols, a description of the HTTP API.
//
// "promcheck rules FILE..." is "promtool test rules": an overlay adds promtool's file unittest.go to this
// package when it is built, because no other package can import it. Without the overlay, the build tag
// excludes this package. "promcheck metrics" reads a list of expressions as JSON, and writes the metrics
// that each queries. "promcheck watch DATA" scrapes targets, and runs queries.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// Exit codes of unittest.go.
const (
	successExitCode = 0
	failureExitCode = 1
)

// parseTime parses a start_timestamp for unittest.go.
func parseTime(s string) (time.Time, error) {
	return time.Parse(time.RFC3339Nano, s)
}

func main() {
	p := parser.NewParser(parser.Options{})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 1 && args[0] == "rules":
		os.Exit(RulesUnitTest(promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true}, p, nil, false, false, false, args[1:]...))
	case len(args) == 1 && args[0] == "metrics":
		err = metrics(p, os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "watch":
		err = watch(ctx, p, args[1], os.Stdin, os.Stdout)
	default:
		err = errors.New("usage: promcheck rules FILE... | promcheck metrics <EXPRESSIONS | promcheck watch DATA <QUERIES")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "promcheck:", err)
		os.Exit(failureExitCode)
	}
}

// metrics writes the names of the metrics in each expression.
func metrics(p parser.Parser, in io.Reader, out io.Writer) error {
	var expressions []string
	if err := json.NewDecoder(in).Decode(&expressions); err != nil {
		return fmt.Errorf("read expressions: %w", err)
	}
	found := make([][]string, len(expressions))
	for i, text := range expressions {
		expr, err := p.ParseExpr(text)
		if err != nil {
			return fmt.Errorf("parse %q: %w", text, err)
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if selector, ok := node.(*parser.VectorSelector); ok {
				found[i] = append(found[i], selector.Name)
			}
			return nil
		})
	}
	if err := json.NewEncoder(out).Encode(found); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
