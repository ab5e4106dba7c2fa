// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build promcheck

package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

// object is a part of an answer.
type object = map[string]any

// api answers as Prometheus' HTTP API does, as far as tests ask.
type api struct {
	engine *promql.Engine
	data   storage.Queryable
	rules  *rules.Manager
}

func (a api) handler() http.Handler {
	mux := http.NewServeMux()
	for path, asked := range map[string]func(*http.Request) (any, error){
		"/api/v1/query": a.query, "/api/v1/query_range": a.queryRange, "/api/v1/rules": a.allRules,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			said := object{"status": "success"}
			data, err := asked(r)
			if said["data"] = data; err != nil {
				said = object{"status": "error", "error": err.Error()}
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
			_ = json.NewEncoder(w).Encode(said) // who asked may have gone
		})
	}
	return mux
}

func (a api) query(r *http.Request) (any, error) {
	q, err := a.engine.NewInstantQuery(r.Context(), a.data, nil, r.FormValue("query"), time.Now())
	return answer(r.Context(), q, err)
}

func (a api) queryRange(r *http.Request) (any, error) {
	var numbers [3]float64
	for i, name := range []string{"start", "end", "step"} {
		var err error
		if numbers[i], err = strconv.ParseFloat(r.FormValue(name), 64); err != nil {
			return nil, err
		}
	}
	at := func(seconds float64) time.Time { return time.UnixMilli(int64(math.Round(seconds * 1000))) }
	step := time.Duration(numbers[2] * float64(time.Second))
	q, err := a.engine.NewRangeQuery(r.Context(), a.data, nil, r.FormValue("query"), at(numbers[0]), at(numbers[1]), step)
	return answer(r.Context(), q, err)
}

// answer is what came of a query.
func answer(ctx context.Context, q promql.Query, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	defer q.Close()
	result := q.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	point := func(ms int64, v float64) [2]any {
		return [2]any{float64(ms) / 1000, strconv.FormatFloat(v, 'f', -1, 64)}
	}
	out := []object{}
	switch value := result.Value.(type) {
	case promql.Vector:
		for _, s := range value {
			out = append(out, object{"metric": s.Metric.Map(), "value": point(s.T, s.F)})
		}
	case promql.Matrix:
		for _, s := range value {
			points := [][2]any{}
			for _, p := range s.Floats {
				points = append(points, point(p.T, p.F))
			}
			out = append(out, object{"metric": s.Metric.Map(), "values": points})
		}
	default:
		return nil, errors.New("the result is of type " + string(result.Value.Type()))
	}
	return object{"resultType": result.Value.Type(), "result": out}, nil
}

func (a api) allRules(*http.Request) (any, error) {
	groups := []object{}
	for _, group := range a.rules.RuleGroups() {
		all := []object{}
		for _, rule := range group.Rules() {
			said := object{"name": rule.Name(), "health": rule.Health(), "lastEvaluation": rule.GetEvaluationTimestamp()}
			if err := rule.LastError(); err != nil {
				said["lastError"] = err.Error()
			}
			all = append(all, said)
		}
		groups = append(groups, object{"name": group.Name(), "file": group.File(), "rules": all})
	}
	return object{"groups": groups}, nil
}
