// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strconv"

	"gonum.org/v1/plot"
)

// format writes a value in a unit of Grafana, about as Grafana does.
func format(unit string, v float64) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	switch {
	case unit == "s" && v >= 120:
		return number(v/60) + " min"
	case unit == "s" && v < 1 && v > 0:
		return number(v*1000) + " ms"
	case unit == "s":
		return number(v) + " s"
	case unit == "reqps":
		return number(v) + "/s"
	case unit == "bytes":
		return number(v/(1<<20)) + " MiB"
	}
	return number(v)
}

// ticks are Gonum's, in other words.
type ticks func(float64) string

// Ticks implements plot.Ticker.
func (f ticks) Ticks(low, high float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(low, high)
	for i, tick := range all {
		if tick.Label != "" {
			all[i].Label = f(tick.Value)
		}
	}
	return all
}

// encode writes a PNG with at most 256 colours, which is a third as large.
func encode(out io.Writer, from image.Image) error {
	// Those of red, green and blue that browsers once agreed on.
	levels := []uint8{0x00, 0x33, 0x66, 0x99, 0xcc, 0xff}
	var palette color.Palette
	for _, r := range levels {
		for _, g := range levels {
			for _, b := range levels {
				palette = append(palette, color.RGBA{r, g, b, 0xff})
			}
		}
	}
	// Letters are grey at their edges.
	for grey := uint8(1); len(palette) < 255; grey += 6 {
		palette = append(palette, color.Gray{grey})
	}
	palette = append(palette, paper)
	known := map[color.Color]color.Color{}
	to := image.NewPaletted(from.Bounds(), palette)
	for y := from.Bounds().Min.Y; y < from.Bounds().Max.Y; y++ {
		for x := from.Bounds().Min.X; x < from.Bounds().Max.X; x++ {
			c := from.At(x, y)
			if known[c] == nil {
				known[c] = palette.Convert(c)
			}
			to.Set(x, y, known[c])
		}
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(out, to); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}
