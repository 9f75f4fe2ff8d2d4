package e2e_test

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
)

// The sizes of the picture, in pixels.
const (
	panelWidth, panelHeight = 320, 220
	plotTop, plotHeight     = 34, 110
	plotLeft, plotWidth     = 52, 256
	panelsInRow             = 3
)

// drawnSpan is the time that the picture shows.
const drawnSpan = time.Minute

var lineColors = []string{"#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#5e9eab", "#b8860b", "#666666"}

// line is one line of a panel.
type line struct {
	name   string
	values []sample
}

// draw draws each panel of the dashboard from the answers of Prometheus.
func draw(t *testing.T, p *prometheus) string {
	t.Helper()
	panels := dashboard(t)
	rows := (len(panels) + panelsInRow - 1) / panelsInRow
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="11">`+"\n", panelWidth*panelsInRow, panelHeight*rows)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#f4f5f5"/>`+"\n", panelWidth*panelsInRow, panelHeight*rows)
	for i, panel := range panels {
		var lines []line
		for _, target := range panel.Targets {
			for _, s := range p.query(target.Expr, drawnSpan) {
				lines = append(lines, line{legend(target.LegendFormat, s.Metric), s.Values})
			}
		}
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%panelsInRow*panelWidth, i/panelsInRow*panelHeight)
		drawPanel(&b, &panel, lines)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// legend fills in a legend's labels, as Grafana does.
func legend(format string, labels map[string]string) string {
	return legendLabel.ReplaceAllStringFunc(format, func(label string) string { return labels[strings.Trim(label, "{}")] })
}

func drawPanel(b *strings.Builder, p *panel, lines []line) {
	fmt.Fprintf(b, `<rect x="4" y="4" width="%d" height="%d" rx="3" fill="#fff" stroke="#dcdee0"/>`+"\n", panelWidth-8, panelHeight-8)
	fmt.Fprintf(b, `<text x="12" y="22" font-size="12" font-weight="600">%s</text>`+"\n", html.EscapeString(p.Title))
	highest, last := 0.0, 0.0
	for _, l := range lines {
		for _, v := range l.values {
			highest, last = max(highest, finite(v.value)), max(last, v.at)
		}
	}
	if highest == 0 {
		highest = 1
	}
	for _, share := range []float64{0, 0.5, 1} {
		y := plotTop + plotHeight*(1-share)
		fmt.Fprintf(b, `<path d="M%d %.0fh%d" stroke="#e4e6e8"/><text x="%d" y="%.0f" text-anchor="end" fill="#555" font-size="9">%s</text>`+"\n",
			plotLeft, y, plotWidth, plotLeft-4, y+3, withUnit(highest*share, p.FieldConfig.Defaults.Unit))
	}
	for i, l := range lines {
		color := lineColors[i%len(lineColors)]
		if len(l.values) > 0 {
			fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.4" points="`, color)
			for _, v := range l.values {
				x := plotLeft + plotWidth*(1-(last-v.at)/drawnSpan.Seconds())
				fmt.Fprintf(b, "%.0f,%.1f ", x, plotTop+plotHeight*(1-finite(v.value)/highest))
			}
			b.WriteString(`"/>` + "\n")
		}
		x, y := 12+i%3*102, plotTop+plotHeight+20+i/3*14
		fmt.Fprintf(b, `<path d="M%d %dh10" stroke="%s" stroke-width="3"/><text x="%d" y="%d" font-size="9.5">%s</text>`+"\n", x, y-3, color, x+13, y, html.EscapeString(l.name))
	}
}

// finite returns 0 for a value that is not a number, such as a share of nothing.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// withUnit returns a value with a unit of Grafana.
func withUnit(v float64, unit string) string {
	switch {
	case v == 0:
		return "0"
	case unit == "s":
		return time.Duration(v * float64(time.Second)).Round(time.Duration(math.Pow(10, math.Floor(math.Log10(v*1e9))-1))).String()
	case unit == "bytes":
		return humanize.IBytes(uint64(v))
	case unit == "percentunit":
		return fmt.Sprintf("%.0f %%", 100*v)
	}
	return humanize.FtoaWithDigits(v, 2)
}
