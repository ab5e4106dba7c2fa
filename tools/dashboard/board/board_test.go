// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package board

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPanelsNeitherOverlapNorLeaveGaps(t *testing.T) {
	taken, area, bottom := map[[2]int]int{}, 0, 0
	for i, p := range Places(Panels()) {
		if p.X+p.Width > columns {
			t.Errorf("panel %d ends at column %d", i, p.X+p.Width)
		}
		for x := p.X; x < p.X+p.Width; x++ {
			for y := p.Y; y < p.Y+p.Height; y++ {
				if other, is := taken[[2]int{x, y}]; is {
					t.Fatalf("panels %d and %d overlap", other, i)
				}
				taken[[2]int{x, y}] = i
			}
		}
		area += p.Width * p.Height
		bottom = max(bottom, p.Y+p.Height)
	}
	if area != columns*bottom {
		t.Errorf("the panels take %d of %d places", area, columns*bottom)
	}
}

func TestEachPanelSaysWhatItShows(t *testing.T) {
	titles := map[string]bool{}
	for _, p := range Panels() {
		if p.Title == "" || p.About == "" || p.Unit == "" || len(p.Queries) == 0 {
			t.Errorf("panel %q lacks something: %+v", p.Title, p)
		}
		if titles[p.Title] {
			t.Errorf("there are two panels %q", p.Title)
		}
		titles[p.Title] = true
		for _, q := range p.Queries {
			if !strings.Contains(q.Expr, "$job") {
				t.Errorf("panel %q asks for the series of everybody: %s", p.Title, q.Expr)
			}
			if p.Kind == Lines && q.Legend == "" {
				t.Errorf("panel %q has a curve without a name", p.Title)
			}
		}
	}
}

func TestLegendsNameLabelsThatTheQueryKeeps(t *testing.T) {
	for _, p := range Panels() {
		for _, q := range p.Queries {
			for _, part := range strings.Split(q.Legend, "{{")[1:] {
				label, _, closed := strings.Cut(part, "}}")
				_, by, _ := strings.Cut(q.Expr, " by (")
				by, _, _ = strings.Cut(by, ")")
				if !closed || !strings.Contains(", "+by+",", ", "+label+",") {
					t.Errorf("panel %q names %s, which %s does not keep", p.Title, label, q.Expr)
				}
			}
		}
	}
}

func TestACurveIsCalledByItsLabels(t *testing.T) {
	q := Query{Legend: "{{verb}} of {{resource}}, limit"}
	if got := q.Name(map[string]string{"verb": "get", "resource": "pods"}); got != "get of pods, limit" {
		t.Errorf("it is called %q", got)
	}
	if got := (Query{Legend: "p50"}).Name(nil); got != "p50" {
		t.Errorf("it is called %q", got)
	}
}

func TestVariablesAreFilledIn(t *testing.T) {
	if got := Fill(`rate(a{job=~"$job"}[$__rate_interval])`, ".+", "1m"); got != `rate(a{job=~".+"}[1m])` {
		t.Errorf("got %s", got)
	}
}

func TestTheJSONHasAllPanelsWithTheirQueries(t *testing.T) {
	raw, err := JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Templating struct{ List []struct{ Name string } }
		Panels     []struct {
			Title, Type string
			Targets     []struct {
				Expr       string
				Datasource struct{ UID string }
			}
			FieldConfig struct {
				Defaults struct {
					Thresholds struct {
						Steps []struct {
							Color string
							Value *float64
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Templating.List) != 2 || got.Templating.List[0].Name != "datasource" || got.Templating.List[1].Name != "job" {
		t.Errorf("it has variables %v", got.Templating.List)
	}
	all := Panels()
	if len(got.Panels) != len(all) {
		t.Fatalf("it has %d panels, want %d", len(got.Panels), len(all))
	}
	for i, p := range got.Panels {
		if p.Title != all[i].Title || p.Type != string(all[i].Kind) || len(p.Targets) != len(all[i].Queries) {
			t.Errorf("panel %d is %+v, want %+v", i, p, all[i])
			continue
		}
		for j, target := range p.Targets {
			if target.Expr != all[i].Queries[j].Expr || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q asks %+v", p.Title, target)
			}
		}
		steps := p.FieldConfig.Defaults.Thresholds.Steps
		switch {
		case all[i].Low && (len(steps) != 2 || steps[0].Color != "red" || steps[0].Value != nil || *steps[1].Value < 1):
			t.Errorf("panel %q has steps %+v", p.Title, steps)
		case !all[i].Low && all[i].Warn > 0 && (len(steps) != 2 || steps[1].Color != "red" || *steps[1].Value != all[i].Warn):
			t.Errorf("panel %q has steps %+v", p.Title, steps)
		}
	}
}
