// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Curve is the values of one series.
type Curve struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// Finite says whether there is a number: a rate of nothing by nothing is none.
func (c Curve) Finite() bool {
	for _, p := range c.Points {
		if !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
			return true
		}
	}
	return false
}

// UnmarshalJSON reads a point as Prometheus writes it, [seconds, "value"].
func (p *Point) UnmarshalJSON(raw []byte) error {
	var seconds float64
	var text string
	if err := json.Unmarshal(raw, &[]any{&seconds, &text}); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	*p = Point{time.UnixMilli(int64(seconds * 1000)), value}
	return nil
}

// Rule is one that Prometheus evaluates.
type Rule struct {
	Name, Health, State, LastError string
	// LastEvaluation is the zero time until there was one.
	LastEvaluation time.Time
}

// Query asks for what is now.
func (s *Server) Query(ctx context.Context, expr string) ([]Curve, error) {
	return s.curves(ctx, "query", url.Values{"query": {expr}})
}

// QueryRange asks for what was, at intervals.
func (s *Server) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Curve, error) {
	return s.curves(ctx, "query_range", url.Values{"query": {expr}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {fmt.Sprint(step.Seconds())}})
}

func stamp(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

func (s *Server) curves(ctx context.Context, what string, values url.Values) ([]Curve, error) {
	var data struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  *Point
			Values []Point
		}
	}
	if err := s.ask(ctx, what, values, &data); err != nil {
		return nil, err
	}
	var out []Curve
	for _, series := range data.Result {
		if series.Value != nil {
			series.Values = append(series.Values, *series.Value)
		}
		out = append(out, Curve{series.Metric, series.Values})
	}
	return out, nil
}

// Rules are all that it evaluates.
func (s *Server) Rules(ctx context.Context) ([]Rule, error) {
	var data struct {
		Groups []struct{ Rules []Rule }
	}
	if err := s.ask(ctx, "rules", nil, &data); err != nil {
		return nil, err
	}
	var out []Rule
	for _, group := range data.Groups {
		out = append(out, group.Rules...)
	}
	return out, nil
}

func (s *Server) ask(ctx context.Context, what string, values url.Values, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/v1/"+what+"?"+values.Encode(), nil)
	if err != nil {
		return fmt.Errorf("ask Prometheus for %s: %w", what, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask Prometheus for %s: %w", what, err)
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("ask Prometheus for %s: %s: %w", what, response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("ask Prometheus for %s %s: %s", what, strings.Join(values["query"], ""), answer.Error)
	}
	return nil
}
