// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package board

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// object is a part of Grafana's JSON.
type object = map[string]any

// source is the data source that the dashboard's variable names.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// JSON is the dashboard as Grafana imports it.
func JSON() ([]byte, error) {
	all := Panels()
	panels := make([]object, len(all))
	for i, place := range Places(all) {
		panels[i] = all[i].json(i+1, place)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object{
		"uid":           "space-dra-driver",
		"title":         "Spaces",
		"description":   "Spaces of pods: what is in use, what waits, what is stuck.",
		"tags":          []string{"space-dra-driver"},
		"schemaVersion": 39,
		"version":       1,
		"editable":      true,
		"graphTooltip":  1, // one crosshair for all panels
		"refresh":       "30s",
		"time":          object{"from": "now-1h", "to": "now"},
		"timezone":      "browser",
		"links":         []object{link("What to do about alerts", Runbooks)},
		"templating":    object{"list": variables()},
		"panels":        panels,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the dashboard: %w", err)
	}
	return out.Bytes(), nil
}

// variables are what who looks at the dashboard can choose: where the data is, and which drivers'.
func variables() []object {
	return []object{
		{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}, "hide": 0},
		{
			"name": "job", "label": "Job", "type": "query", "datasource": source,
			"query":      object{"query": "label_values(space_dra_build_info, job)", "refId": "job"},
			"includeAll": true, "allValue": ".+", "multi": true, "refresh": 2, "sort": 1, "hide": 0,
			"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
		},
	}
}

func link(title, url string) object {
	return object{"title": title, "url": url, "type": "link", "icon": "doc", "targetBlank": true}
}

func (p Panel) json(id int, place Place) object {
	targets := make([]object, len(p.Queries))
	for i, q := range p.Queries {
		targets[i] = object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.Expr, "legendFormat": q.Legend, "range": true}
	}
	links := []object{}
	for _, alert := range p.Alerts {
		links = append(links, link(alert, Runbooks+"/"+alert+".md"))
	}
	return object{
		"id": id, "type": string(p.Kind), "title": p.Title, "description": p.About, "datasource": source,
		"gridPos": object{"x": place.X, "y": place.Y, "w": place.Width, "h": place.Height},
		"targets": targets, "links": links, "fieldConfig": object{"defaults": p.field(), "overrides": []object{}}, "options": p.options(),
	}
}

// field is how values look.
func (p Panel) field() object {
	const good, bad = "green", "red"
	steps := []object{{"color": good, "value": nil}}
	switch {
	case p.Low:
		steps = []object{{"color": bad, "value": nil}, {"color": good, "value": max(p.Warn, 1)}}
	case p.Warn > 0:
		steps = append(steps, object{"color": bad, "value": p.Warn})
	}
	out := object{"unit": string(p.Unit), "thresholds": object{"mode": "absolute", "steps": steps}}
	if p.Kind == Lines {
		out["min"] = 0
		out["custom"] = object{"fillOpacity": 10, "lineWidth": 1, "showPoints": "auto"}
	}
	return out
}

func (p Panel) options() object {
	if p.Kind == Stat {
		return object{"colorMode": "value", "graphMode": "area", "reduceOptions": object{"calcs": []string{"lastNotNull"}}}
	}
	return object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
}
