// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"bytes"
	"image/png"
	"math"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
)

func TestAllPanelsAreDrawnAlsoWithoutData(t *testing.T) {
	shown, err := dashboard.Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	var panels []Panel
	for i, p := range shown.Panels {
		drawn := Panel{Panel: p}
		for j := range i % 4 {
			curve := Curve{Name: "a curve with a name of some length"}
			for k := range 300 {
				value := math.Abs(math.Sin(float64(k)/20)) * float64(j+1)
				if k > 100 && k < 150 {
					value = math.NaN()
				}
				curve.Points = append(curve.Points, Point{time.Duration(k) * time.Second, value})
			}
			drawn.Curves = append(drawn.Curves, curve)
		}
		panels = append(panels, drawn)
	}
	var out bytes.Buffer
	if err := Draw(&out, panels, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X < 1000 || size.Y < 1000 {
		t.Errorf("it has %v dots", size)
	}
}

func TestACurveIsBrokenWhereThereIsNothing(t *testing.T) {
	got := unbroken([]Point{{time.Second, 1}, {2 * time.Second, 2}, {3 * time.Second, math.NaN()}, {4 * time.Second, math.Inf(1)}, {time.Minute, 3}})
	if len(got) != 2 || len(got[0]) != 2 || len(got[1]) != 1 || got[1][0].Y != 3 {
		t.Errorf("got %v", got)
	}
}

func TestValuesHaveTheirUnits(t *testing.T) {
	for want, got := range map[string]string{
		"250 ms":  format("s", 0.25),
		"0 s":     format("s", 0),
		"3.5 s":   format("s", 3.5),
		"40 min":  format("s", 2400),
		"1.5/s":   format("reqps", 1.5),
		"2 MiB":   format("bytes", 2<<20),
		"7":       format("short", 7),
		"0.00123": format("none", 0.001234),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
