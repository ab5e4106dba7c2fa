// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package picture draws the dashboard without Grafana, from what Prometheus answers to the dashboard's own queries.
package picture

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
)

// Panel is a panel of the dashboard with its data.
type Panel struct {
	dashboard.Panel
	Curves []Curve
}

// Curve is a named series.
type Curve struct {
	Name   string
	Points []Point
}

// Point is a value, so long after the beginning.
type Point struct {
	After time.Duration
	Value float64
}

// Sizes of the picture.
const (
	column, row = vg.Length(36), vg.Length(19)
	gap         = vg.Length(3)
	// dots are for each inch.
	dots = 92
)

var (
	paper = color.Gray{0xf4}
	sheet = color.Gray{0xff}
	ink   = color.Gray{0x30}
	faint = color.Gray{0xe0}
)

// Draw writes a PNG of the panels where the dashboard has them, of that much time.
func Draw(out io.Writer, panels []Panel, length time.Duration) error {
	rows := 0
	for _, p := range panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	height := row * vg.Length(rows)
	image := vgimg.NewWith(vgimg.UseWH(column*24, height), vgimg.UseDPI(dots), vgimg.UseBackgroundColor(paper))
	canvas := draw.New(image)
	for _, p := range panels {
		left, top := column*vg.Length(p.GridPos.X), height-row*vg.Length(p.GridPos.Y)
		box := draw.Canvas{Canvas: canvas.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left + gap, Y: top - row*vg.Length(p.GridPos.H) + gap},
			Max: vg.Point{X: left + column*vg.Length(p.GridPos.W) - gap, Y: top - gap},
		}}
		if p.Type == dashboard.Row {
			box.FillText(style(11, ink), vg.Point{X: box.Min.X, Y: box.Max.Y}, p.Title)
			continue
		}
		box.FillPolygon(sheet, corners(box.Rectangle))
		if err := p.draw(draw.Crop(box, 2*gap, -2*gap, gap, -gap), length); err != nil {
			return fmt.Errorf("draw panel %q: %w", p.Title, err)
		}
	}
	return encode(out, image.Image())
}

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// face is what all words are written in.
var face = font.Font{Typeface: "Liberation", Variant: "Sans"}

// style is of words of a size.
func style(size vg.Length, c color.Color) draw.TextStyle {
	return draw.TextStyle{Color: c, Font: font.From(face, size), Handler: plot.DefaultTextHandler, XAlign: text.XLeft, YAlign: text.YTop}
}

func (p Panel) draw(box draw.Canvas, length time.Duration) error {
	const title = 11
	box.FillText(style(title, ink), vg.Point{X: box.Min.X, Y: box.Max.Y}, p.Title)
	box = draw.Crop(box, 0, 0, 0, -title-2*gap)
	if p.Type == dashboard.Stat {
		p.drawLast(box)
		return nil
	}
	if len(p.Curves) == 0 {
		p.write(box, "No data")
		return nil
	}
	box = draw.Crop(box, 0, 0, p.drawLegend(box), 0)
	drawing, err := p.drawing(length)
	if err != nil {
		return err
	}
	drawing.Draw(box)
	return nil
}

// drawLast writes the last value, large.
func (p Panel) drawLast(box draw.Canvas) {
	last := "-"
	for _, curve := range p.Curves {
		for _, point := range curve.Points {
			if finite(point.Value) {
				last = format(p.FieldConfig.Defaults.Unit, point.Value)
			}
		}
	}
	p.write(box, last)
}

// write writes something large into the middle.
func (p Panel) write(box draw.Canvas, what string) {
	s := style(24, ink)
	s.XAlign, s.YAlign = text.XCenter, text.YCenter
	box.FillText(s, vg.Point{X: (box.Min.X + box.Max.X) / 2, Y: (box.Min.Y + box.Max.Y) / 2}, what)
}

// drawLegend writes the curves' names side by side at the bottom, and returns how high they are.
func (p Panel) drawLegend(box draw.Canvas) vg.Length {
	const line, mark = vg.Length(10), vg.Length(8)
	s := style(8, ink)
	s.YAlign = text.YBottom
	type entry struct {
		x    vg.Length
		line int
	}
	places, at := make([]entry, len(p.Curves)), entry{}
	for i, curve := range p.Curves {
		width := mark + gap + s.Width(curve.Name) + 3*gap
		if at.x > 0 && at.x+width > box.Max.X-box.Min.X {
			at = entry{0, at.line + 1}
		}
		places[i] = at
		at.x += width
	}
	height := line * vg.Length(at.line+1)
	for i, curve := range p.Curves {
		x, y := box.Min.X+places[i].x, box.Min.Y+height-line*vg.Length(places[i].line+1)
		box.StrokeLine2(draw.LineStyle{Color: plotutil.Color(i), Width: vg.Points(2)}, x, y+line/2-1, x+mark, y+line/2-1)
		box.FillText(s, vg.Point{X: x + mark + gap, Y: y}, curve.Name)
	}
	return height + gap
}

func (p Panel) drawing(length time.Duration) (*plot.Plot, error) {
	out := plot.New()
	out.BackgroundColor = sheet
	out.X.Min, out.X.Max, out.Y.Min, out.Y.Max = 0, length.Minutes(), 0, 0
	out.X.Tick.Marker = ticks(func(v float64) string { return fmt.Sprintf("%g min", v) })
	out.Y.Tick.Marker = ticks(func(v float64) string { return format(p.FieldConfig.Defaults.Unit, v) })
	out.X.Tick.Label.Font, out.Y.Tick.Label.Font = font.From(face, 8), font.From(face, 8)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	out.Add(grid)
	for i, curve := range p.Curves {
		for _, part := range unbroken(curve.Points) {
			line, err := plotter.NewLine(part)
			if err != nil {
				return nil, fmt.Errorf("curve %q: %w", curve.Name, err)
			}
			line.Color, line.Width = plotutil.Color(i), vg.Points(1.2)
			out.Add(line)
		}
	}
	if out.Y.Max *= 1.05; out.Y.Max == 0 {
		out.Y.Max = 1
	}
	return out, nil
}

// gapAfter is how far apart points are that are not of one line.
const gapAfter = 5 * time.Second

// unbroken are the points without those that are no numbers, in parts between which there is nothing.
func unbroken(points []Point) []plotter.XYs {
	var out []plotter.XYs
	var last time.Duration
	for _, point := range points {
		if !finite(point.Value) {
			continue
		}
		if len(out) == 0 || point.After-last > gapAfter {
			out = append(out, nil)
		}
		last = point.After
		out[len(out)-1] = append(out[len(out)-1], plotter.XY{X: point.After.Minutes(), Y: point.Value})
	}
	return out
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
