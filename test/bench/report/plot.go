// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Plot has curves in one system of coordinates.
type Plot struct {
	Title  string  `json:"title"`
	X      string  `json:"x"`
	Y      string  `json:"y"`
	Curves []Curve `json:"curves"`
}

// Curve is a line through points.
type Curve struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is a point of a curve.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// width and height are those of one plot.
const width, height = 18 * vg.Centimeter, 11 * vg.Centimeter

// drawFile writes a PNG, if there is anything to draw.
func drawFile(path string, plots []Plot) (err error) {
	if len(plots) == 0 {
		return nil
	}
	columns := min(len(plots), 2)
	rows := (len(plots) + columns - 1) / columns
	image := vgimg.New(width*vg.Length(columns), height*vg.Length(rows))
	tiles := draw.Tiles{
		Rows: rows, Cols: columns,
		PadX: vg.Points(24), PadY: vg.Points(18), PadLeft: vg.Points(6), PadRight: vg.Points(14), PadBottom: vg.Points(6),
	}
	canvas := draw.Crop(draw.New(image), 0, 0, 0, -vg.Points(8))
	for i, p := range plots {
		drawing, err := p.drawing()
		if err != nil {
			return fmt.Errorf("draw %q: %w", p.Title, err)
		}
		drawing.Draw(tiles.At(canvas, i%columns, i/columns))
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := (vgimg.PngCanvas{Canvas: image}).WriteTo(file); err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	return nil
}

// drawing has the axes from zero on, so that growth looks as large as it is.
func (p Plot) drawing() (*plot.Plot, error) {
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.Title, p.X, p.Y
	out.X.Min, out.Y.Min = 0, 0
	out.Legend.Top, out.Legend.Left = true, true
	out.Title.Padding = vg.Points(8)
	out.Add(plotter.NewGrid())
	for i, c := range p.Curves {
		points := make(plotter.XYs, len(c.Points))
		for j, point := range c.Points {
			points[j].X, points[j].Y = point.X, point.Y
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("curve %q: %w", c.Name, err)
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		out.Add(line)
		out.Legend.Add(c.Name, line)
	}
	// So that the legend has room above the curves.
	out.Y.Max *= 1 + 0.12*float64(len(p.Curves))
	return out, nil
}
