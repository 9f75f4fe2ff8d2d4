package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// element is an element of an SVG, with the text right inside it.
type element struct {
	name, text string
	attributes map[string]string
}

func parse(t *testing.T, svg string) (all []element) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attributes: map[string]string{}}
			for _, a := range token.Attr {
				e.attributes[a.Name.Local] = a.Value
			}
			all = append(all, e)
		case xml.CharData:
			all[len(all)-1].text += string(token)
		}
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBars_AreAsHighAsTheirValues(t *testing.T) {
	t.Parallel()
	b := Bars{
		ID: "c", Title: "Requests <a day>", Desc: "Three days", Labels: []string{"Mon", "Tue", "Wed"},
		Series: []Series{{"admitted", []float64{100, 0, 50}}, {"refused & cut", []float64{100, 30, 0}}},
	}
	const bottomLine = height - bottom
	var bars []element
	for _, e := range parse(t, b.SVG()) {
		if e.name == "rect" {
			bars = append(bars, e)
		}
	}
	if len(bars) != 4 {
		t.Fatalf("%d bars", len(bars))
	}
	tall := func(i int) float64 { return number(t, bars[i].attributes["height"]) }
	y := func(i int) float64 { return number(t, bars[i].attributes["y"]) }
	if tall(0) != tall(1) || math.Abs(tall(3)*2-tall(0)) > 0.2 || bars[0].attributes["class"] != "bar" || bars[1].attributes["class"] != "bar2" {
		t.Errorf("the bars are %+v", bars)
	}
	if math.Abs(y(1)+tall(1)-y(0)) > 0.1 {
		t.Errorf("the second bar of a day does not stand on the first: %+v", bars)
	}
	if y(1) < top || y(0)+tall(0) > bottomLine+0.1 {
		t.Errorf("a bar is outside of the chart: %+v", bars)
	}
}

func TestBars_CanBeRead(t *testing.T) {
	t.Parallel()
	b := Bars{ID: "c", Title: "Requests <a day>", Desc: "At most 12", Labels: []string{"Mon"}, Series: []Series{{"refused & cut", []float64{12}}}}
	all := parse(t, b.SVG())
	svg := all[0]
	if svg.attributes["role"] != "img" || svg.attributes["aria-labelledby"] != "c-title c-desc" {
		t.Errorf("the chart is %+v", svg)
	}
	texts := map[string]string{}
	for _, e := range all {
		if id := e.attributes["id"]; id != "" {
			texts[id] = e.text
		}
		for name := range e.attributes {
			if name == "style" || strings.HasPrefix(name, "on") {
				t.Errorf("the Content-Security-Policy forbids %s: %+v", name, e)
			}
		}
	}
	if texts["c-title"] != "Requests <a day>" || texts["c-desc"] != "At most 12" || !strings.Contains(b.SVG(), "<title>Mon, refused &amp; cut: 12</title>") {
		t.Errorf("the texts are %v in %s", texts, b.SVG())
	}
}

// Labels never cover each other, however many days there are.
func TestBars_LabelsHaveSpace(t *testing.T) {
	t.Parallel()
	for _, days := range []int{0, 1, 7, 31, 400} {
		b := Bars{Labels: make([]string, days), Series: []Series{{"a", make([]float64, days)}}}
		last := math.Inf(-1)
		for _, e := range parse(t, b.SVG()) {
			if e.attributes["text-anchor"] != "middle" {
				continue
			}
			x := number(t, e.attributes["x"])
			if x-last < labelWidth-0.2 {
				t.Errorf("of %d days, labels are at %g and %g", days, last, x)
			}
			last = x
		}
	}
}

func TestNiceMost_IsRoundAndHighEnough(t *testing.T) {
	t.Parallel()
	for most, want := range map[float64]float64{0: 4, 1: 4, 4: 4, 5: 8, 9: 20, 21: 40, 40: 40, 41: 80, 1234: 2000, 2001: 4000, 399_999: 400_000, 1e9: 2e9} {
		if got := niceMost(most); got != want {
			t.Errorf("%g: got %g, want %g", most, got, want)
		}
	}
}
