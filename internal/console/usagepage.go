package console

import (
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/chart"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// usageReport is the data of the page usage.
type usageReport struct {
	Days         int
	Spans        []int
	Account, Key string
	PerDay       []dayUsage // a day without usage has zeros
	Reasons      []manage.Usage
	Keys         []manage.Usage // the busiest
	KeysAt       manage.Time    // when the busiest keys were added up, if that was some time ago
	KeysPending  bool           // the busiest keys are not known yet
	Sum          manage.Usage
	Requests     template.HTML // a chart
	Audio        template.HTML // a chart; empty without audio
	Problem      string
}

// dayUsage is the usage of one day in UTC.
type dayUsage struct {
	Day string // such as 2026-12-31
	manage.Usage
}

func usagePage(v *visit) error {
	query := v.r.URL.Query()
	u := &usageReport{Days: 30, Spans: []int{7, 30, 90}, Account: query.Get("account"), Key: query.Get("key")}
	for _, span := range u.Spans {
		if query.Get("days") == strconv.Itoa(span) {
			u.Days = span
		}
	}
	today := v.now.Std().UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, 1-u.Days)
	asked := manage.UsageQuery{AccountID: u.Account, KeyID: u.Key, Since: first.Format(time.DateOnly), Bounded: true}
	byDay := make(map[string]manage.Usage)
	read := func(by string, each func(manage.Usage)) error {
		q := asked
		q.By = by
		return v.manager.Usage(v.r.Context(), q, func(sum *manage.Usage) error {
			each(*sum)
			return nil
		})
	}
	err := read("day", func(sum manage.Usage) { byDay[sum.At.Std().UTC().Format(time.DateOnly)] = sum })
	if err == nil {
		err = read("reason", func(sum manage.Usage) { u.Reasons = append(u.Reasons, sum) })
	}
	switch {
	case v.isMistake(err) || isAbsent(err):
		u.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "usage", "Usage", u)
	case err != nil:
		return err
	}
	if u.Key == "" {
		var at policy.Time
		var known bool
		u.Keys, at, known = v.busiest.ofVisit(v, asked, u.Days)
		if u.KeysPending = !known; known && v.now >= at.Add(time.Minute) {
			u.KeysAt = manage.Time{Time: at}
		}
	}
	for i := range u.Days {
		day := first.AddDate(0, 0, i).Format(time.DateOnly)
		sum := byDay[day]
		u.PerDay = append(u.PerDay, dayUsage{day, sum})
		u.Sum.Requests += sum.Requests
		u.Sum.Refused += sum.Refused
		u.Sum.AudioSeconds += sum.AudioSeconds
		u.Sum.StreamSeconds += sum.StreamSeconds
		u.Sum.AudioBytes += sum.AudioBytes
	}
	u.draw(v)
	return v.show("usage", "Usage", u)
}

// draw draws the charts.
func (u *usageReport) draw(v *visit) {
	admitted, refused, minutes := make([]float64, u.Days), make([]float64, u.Days), make([]float64, u.Days)
	short := make([]string, u.Days)
	for i, sum := range u.PerDay {
		admitted[i], refused[i], minutes[i] = float64(max(sum.Requests-sum.Refused, 0)), float64(sum.Refused), sum.AudioSeconds/60
		short[i] = sum.Day[len("2006-"):]
	}
	whole := func(f float64) string { return v.printer.Sprintf("%.0f", f) }
	requests := chart.Bars{
		ID: "requests", Title: v.T("Requests a day"), Desc: v.T("From %s to %s. The table below has the numbers.", u.PerDay[0].Day, u.PerDay[u.Days-1].Day), Labels: short, Number: whole,
		Series: []chart.Series{{Name: v.T("admitted"), Values: admitted}, {Name: v.T("refused"), Values: refused}},
	}
	u.Requests = template.HTML(requests.SVG()) //nolint:gosec // the chart escapes all texts
	if u.Sum.AudioSeconds > 0 {
		audio := chart.Bars{
			ID: "audio", Title: v.T("Minutes of audio a day"), Desc: requests.Desc, Labels: short, Number: whole,
			Series: []chart.Series{{Name: v.T("minutes"), Values: minutes}},
		}
		u.Audio = template.HTML(audio.SVG()) //nolint:gosec // the chart escapes all texts
	}
}

// Number returns a number for people.
func (v *visit) Number(n any) string { return v.printer.Sprint(n) }

// Minutes returns seconds as minutes, for people.
func (v *visit) Minutes(seconds float64) string { return v.printer.Sprintf("%.1f", seconds/60) }

// Used returns how much of a limit is used, for people; "" if it is not known.
func (v *visit) Used(l manage.UsedLimit) string {
	switch {
	case l.Used == nil:
		return ""
	case strings.HasPrefix(l.Limit, "audio"):
		return v.T("used: %d s", *l.Used)
	}
	return v.T("used: %d", *l.Used)
}
