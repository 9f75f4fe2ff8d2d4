//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// The interval of 95 % holds the true median of what a sample was drawn from
// that often, and little more.
func TestInterval_HoldsTheMedian(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{6, 11, 40} {
		const trials = 4000
		held := 0
		for range trials {
			sample := make([]float64, n)
			for i := range sample {
				sample[i] = random.ExpFloat64()
			}
			if low, high := interval(sample); low <= math.Ln2 && math.Ln2 <= high {
				held++
			}
		}
		if share := float64(held) / trials; share < 0.94 || share > 0.99 {
			t.Errorf("of %d values, it holds the median in %.1f %% of the cases", n, 100*share)
		}
	}
	if low, high := interval([]float64{3, 1, 2}); low != 1 || high != 3 {
		t.Errorf("three values have the interval %v to %v", low, high)
	}
	if !math.IsNaN(median(nil)) || median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("the median is wrong")
	}
}

func TestMostWithin_CountsTheFullestSpan(t *testing.T) {
	t.Parallel()
	second := func(at ...int) (all []time.Duration) {
		for _, s := range at {
			all = append(all, time.Duration(s)*time.Second)
		}
		return all
	}
	for _, test := range []struct {
		at   []time.Duration
		want int
	}{{nil, 0}, {second(5), 1}, {second(0, 1, 60, 61), 2}, {second(0, 1, 59, 60, 61), 3}, {second(0, 30, 59, 70, 80), 4}} {
		if got := mostWithin(test.at, time.Minute); got != test.want {
			t.Errorf("%v: %d, want %d", test.at, got, test.want)
		}
	}
}

func TestMessage_FieldsAreFoundWhereTheyAre(t *testing.T) {
	t.Parallel()
	head := []byte("POST /v1/recognize?Content-Length: 9 HTTP/1.1\r\nX-Content-Length: 7\r\nContent-Length: 12\r\n\r\n")
	if b, err := bodyOf(head, false); b.left != 12 || err != nil {
		t.Errorf("length %d, %v", b.left, err)
	}
	if b, err := bodyOf([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false); !b.ended() || err != nil {
		t.Errorf("%+v, %v, for a request without a length", b, err)
	}
	for _, bad := range []string{"Transfer-Encoding: chunked", "Content-Length: x", "Content-Length: -1"} {
		if _, err := bodyOf([]byte("GET / HTTP/1.1\r\n"+bad+"\r\n\r\n"), false); err == nil {
			t.Errorf("%s is taken for a length", bad)
		}
	}
	for text, want := range map[string]int{"HTTP/1.1 200 OK\r\n\r\n": 200, "HTTP/1.1 401 U\r\n\r\n": 401, "": 0, "GET / HTTP/1.1\r\n\r\n": 0} {
		if got := status([]byte(text)); got != want {
			t.Errorf("%q has the status %d", text, got)
		}
	}
}

func TestForm_HasTheKeyAndItsLength(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"u", "d"} {
		request := form("/v1/recognize", in, "KEY", 100)
		head, body, _ := strings.Cut(string(request), "\r\n\r\n")
		b, err := bodyOf([]byte(head+"\r\n\r\n"), false)
		if err != nil || b.left != len(body) || strings.Count(body, "KEY") != 1 {
			t.Errorf("%s: length %d of %d, %v: %q", in, b.left, len(body), err, body)
		}
	}
}

func TestReport_SaysWhetherTargetsAreMet(t *testing.T) {
	t.Parallel()
	rows := []row{
		{Case: "a", Measure: "CPU", Unit: "µs", Plain: 40, Gate: 44, Ratio: 1.1, Low: 1, High: 1.2, Pairs: 40, Target: 1.05, AtMost: true},
		{Case: "b", Measure: "throughput", Unit: "requests/s", Plain: 1000, Gate: 990, Ratio: 0.99, Low: 0.97, High: 1, Pairs: 40, Target: 0.95},
		{Case: "e", Measure: "CPU", Unit: "µs", Plain: 40, Gate: 60, Ratio: 1.5, Low: 1.4, High: 1.6, Pairs: 40, Target: 1.1, AtMost: true},
		{Case: "c", Measure: "<first answer>", Unit: "s", Gate: 0.4, Pairs: 5, Target: 1, AtMost: true, Absolute: true},
		{Case: "d", Measure: "memory", Unit: "MiB", Plain: 1, Gate: 2, Ratio: 2, Low: 2, High: 2, Pairs: 5},
	}
	for i, want := range []bool{false, true, false, true, true} {
		if rows[i].Met() != want {
			t.Errorf("row %d: met %t", i, !want)
		}
	}
	report := table(rows, "Plain Caddy")
	for _, want := range []string{"| ≤ 1.050 | open |", "| ≤ 1.100 | **missed** |", "| ≥ 0.950 | met |", "| ≤ 1.000 s | met |", "| d | memory, MiB | 1.000 | 2.000 | 2.000 (2.000–2.000) | 5 |  |  |"} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
	chart := string(drawChart(rows))
	for dec := xml.NewDecoder(strings.NewReader(chart)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the chart is no XML: %v", err)
		}
	}
	if n := strings.Count(chart, "<circle"); n != 4 {
		t.Errorf("the chart has %d points, want one for each ratio", n)
	}
}

func TestChoose_NamesAreThoseOfTheList(t *testing.T) {
	t.Parallel()
	if all, err := choose("all"); err != nil || len(all) != len(cases)-6 { // all except those that need a server
		t.Errorf("%d cases, %v", len(all), err)
	}
	if two, err := choose("flood,poll"); err != nil || len(two) != 2 || two[0].name != "flood" {
		t.Errorf("%v, %v", fmt.Sprint(len(two)), err)
	}
	if _, err := choose("pol"); err == nil || !strings.Contains(err.Error(), `"pol"`) {
		t.Errorf("an unknown case: %v", err)
	}
}
