//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

const (
	chartLeft  = 330
	chartWidth = 860
	chartRow   = 24
	chartTop   = 64
)

// drawChart draws the ratios with their intervals, around a line for plain Caddy. It leaves
// out the settings of the garbage collector, which compare the gate with itself.
func drawChart(rows []row) []byte {
	var shown []row
	low, high := 0.9, 1.1
	for _, r := range rows {
		if r.Ratio > 0 && !math.IsInf(r.Ratio, 0) && !strings.HasPrefix(r.Case, collectorCase) {
			shown = append(shown, r)
			low, high = min(low, r.Low), max(high, r.High)
		}
	}
	low, high = math.Floor(low*10)/10, math.Ceil(high*10)/10
	x := func(ratio float64) float64 {
		return chartLeft + (chartWidth-chartLeft-80)*(ratio-low)/(high-low)
	}
	height := chartTop + chartRow*len(shown) + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<text x="16" y="24" font-size="15" font-weight="600" fill="#1f2328">Speechgate against the same Caddy without it</text>`+"\n")
	fmt.Fprintf(&b, `<text x="16" y="44" fill="#59636e">Ratios, with 95 %% intervals. The small arrows are targets, and point to the good side.</text>`+"\n")
	bottom := chartTop + chartRow*len(shown)
	for _, tick := range ticks(low, high) {
		stroke, width := "#d8dee4", 1
		if math.Abs(tick-1) < 1e-9 {
			stroke, width = "#59636e", 2
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="%d"/>`+"\n", x(tick), chartTop-6, x(tick), bottom, stroke, width)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#59636e">%.4g</text>`+"\n", x(tick), bottom+18, tick)
	}
	for i, r := range shown {
		y := float64(chartTop + chartRow*i + chartRow/2)
		color := "#0969da"
		if !r.Met() {
			color = "#cf222e"
		}
		fmt.Fprintf(&b, `<text x="16" y="%.1f" fill="#1f2328">%s</text>`+"\n", y+4, html.EscapeString(r.Case+": "+r.Measure))
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="3"/>`+"\n", x(r.Low), y, x(r.High), y, color)
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s"/>`+"\n", x(r.Ratio), y, color)
		if r.Target > 0 && !r.Absolute && r.Target >= low && r.Target <= high {
			arrow := "▸"
			if r.AtMost {
				arrow = "◂"
			}
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="11" fill="#8c959f">%s</text>`+"\n", x(r.Target), y+4, arrow)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" fill="#1f2328">%.3f</text>`+"\n", chartWidth-16, y+4, r.Ratio)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// ticks returns a few round values from low to high.
func ticks(low, high float64) []float64 {
	step := 0.1
	for _, larger := range []float64{0.2, 0.5, 1, 2, 5} {
		if (high-low)/step > 12 {
			step = larger
		}
	}
	var all []float64
	for i := math.Ceil(low/step - 1e-9); i*step <= high+1e-9; i++ {
		all = append(all, i*step)
	}
	return all
}
