// Package chart draws charts as SVG, on the server. A chart has no style of its own: its parts have
// the classes bar, bar2, axis and label, so that a style sheet gives it the colors of a theme.
package chart

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Bars is a chart with one bar for each label. The series are on top of each other.
type Bars struct {
	// ID is the beginning of the IDs in the SVG. It must be the only one on the page.
	ID string
	// Title and Desc are read by screen readers.
	Title, Desc string
	// Labels are below the bars, from left to right: as many of them as there is space for.
	Labels []string
	// Series are from the bottom to the top. Each has one value for each of Labels, 0 or more.
	Series []Series
	// Number returns a value for people. Default: the whole number.
	Number func(float64) string
}

// Series is one kind of value.
type Series struct {
	Name   string
	Values []float64
}

// The measures of the chart, in the unit of its coordinates.
const (
	width, height = 720, 240
	left, right   = 84, 8 // of the bars
	top, bottom   = 20, 44
	labelWidth    = 84 // of a label below the bars
	gridLines     = 4
)

// classes are those of the series.
var classes = [...]string{"bar", "bar2"}

// SVG returns the chart.
func (b *Bars) SVG() string {
	number := b.Number
	if number == nil {
		number = func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg viewBox="0 0 %d %d" role="img" aria-labelledby="%[3]s-title %[3]s-desc" xmlns="http://www.w3.org/2000/svg">`, width, height, html.EscapeString(b.ID))
	fmt.Fprintf(&out, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc>`, html.EscapeString(b.ID), html.EscapeString(b.Title), html.EscapeString(b.Desc))
	most := niceMost(b.most())
	for i := range gridLines + 1 {
		value := most * float64(i) / gridLines
		y := at(value, most)
		fmt.Fprintf(&out, `<line class="axis" x1="%d" x2="%d" y1="%s" y2="%[3]s"/>`, left, width-right, coordinate(y))
		fmt.Fprintf(&out, `<text class="label" x="%d" y="%s" text-anchor="end">%s</text>`, left-8, coordinate(y+4), html.EscapeString(number(value)))
	}
	step := float64(width-left-right) / float64(max(len(b.Labels), 1))
	every := int(math.Ceil(labelWidth / step))
	for i, label := range b.Labels {
		x := left + step*float64(i)
		b.bar(&out, i, x, step, most, number)
		if i%every == 0 {
			fmt.Fprintf(&out, `<text class="label" x="%s" y="%d" text-anchor="middle">%s</text>`, coordinate(x+step/2), height-12, html.EscapeString(label))
		}
	}
	out.WriteString(`</svg>`)
	return out.String()
}

// bar draws the bars above a label, with their values for the mouse.
func (b *Bars) bar(out *strings.Builder, i int, x, step, most float64, number func(float64) string) {
	below := 0.0
	for n, s := range b.Series {
		value := s.Values[i]
		if value <= 0 {
			continue
		}
		y0, y1 := at(below, most), at(below+value, most)
		below += value
		fmt.Fprintf(out, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"><title>%s, %s: %s</title></rect>`,
			classes[n%len(classes)], coordinate(x+step*0.15), coordinate(y1), coordinate(step*0.7), coordinate(math.Max(y0-y1, 1)),
			html.EscapeString(b.Labels[i]), html.EscapeString(s.Name), html.EscapeString(number(value)))
	}
}

// most returns the highest bar.
func (b *Bars) most() (most float64) {
	for i := range b.Labels {
		sum := 0.0
		for _, s := range b.Series {
			sum += math.Max(s.Values[i], 0)
		}
		most = math.Max(most, sum)
	}
	return most
}

// niceMost returns the number at the top of the axis: the grid lines are whole and round numbers.
func niceMost(most float64) float64 {
	if most <= gridLines {
		return gridLines
	}
	unit := math.Pow(10, math.Floor(math.Log10(most/gridLines)))
	for _, n := range []float64{1, 2, 5, 10} {
		if n*unit*gridLines >= most {
			return n * unit * gridLines
		}
	}
	return 10 * unit * gridLines
}

// at returns the vertical coordinate of a value.
func at(value, most float64) float64 {
	return top + float64(height-top-bottom)*(1-value/most)
}

func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}
