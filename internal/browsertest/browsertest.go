// Package browsertest drives Chromium, for tests of pages.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/testutil"
)

// tabTime limits how long a test may use a tab. Only a browser that hangs takes so long.
const tabTime = 5 * time.Minute

// Browser is a Chromium that runs.
type Browser struct{ ctx context.Context }

// Start starts Chromium, which ends with the test and its subtests. Its zone is that of Tokyo.
func Start(t *testing.T) *Browser {
	t.Helper()
	home, err := os.MkdirTemp("", "speechgate-browser-") //nolint:usetesting // a process that still writes to it is no failure
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program(t)), chromedp.NoSandbox, chromedp.UserDataDir(home),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("accept-lang", "en"), chromedp.Env("TZ=Asia/Tokyo"))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		cancel()
		stop()
		_ = os.RemoveAll(home)
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &Browser{ctx}
}

// program returns the path of Chromium.
func program(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testutil.Needed(t, "Chromium")
	return ""
}

// Tab is a tab with cookies of its own. One goroutine at a time may use it.
type Tab struct {
	// Context is for the actions of package chromedp.
	Context context.Context

	t    *testing.T
	mu   sync.Mutex
	told []string // what the browser has reported
}

// Tab opens a tab, which closes with the test t.
func (b *Browser) Tab(t *testing.T) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	ctx, timeout := context.WithTimeout(ctx, tabTime)
	t.Cleanup(func() {
		timeout()
		cancel()
	})
	tab := &Tab{Context: ctx, t: t}
	tab.Do()
	told := chromedp.Console(ctx)
	go func() {
		for message, err := range told {
			if err != nil {
				return
			}
			tab.mu.Lock()
			tab.told = append(tab.told, fmt.Sprint(message))
			tab.mu.Unlock()
		}
	}()
	return tab
}

// Told returns what the browser has reported, such as errors of scripts, since the last call.
func (b *Tab) Told() (told []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	told, b.told = b.told, nil
	return told
}

// Do runs actions without results.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.Context, steps...); err != nil {
		b.fail(err)
	}
}

// Result runs an action and returns its result.
func Result[T any](b *Tab, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.Context, action)
	if err != nil {
		b.fail(err)
	}
	return v
}

// fail ends the test, and shows where the tab is.
func (b *Tab) fail(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context), 5*time.Second)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	b.t.Fatalf("%v: at %s:\n%s", err, where, text)
}

// Open opens a URL.
func (b *Tab) Open(url string) { b.t.Helper(); b.Do(chromedp.Navigate(url)) }

// Submit clicks a button that leads to another page, and waits for an element of that page.
func (b *Tab) Submit(button, until string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.Context, chromedp.Click(chromedp.CSS(button))); err != nil {
		b.fail(err)
	}
	b.Do(chromedp.WaitReady(chromedp.CSS(until)))
}

// Fill writes a text into a field.
func (b *Tab) Fill(field, text string) {
	b.t.Helper()
	b.Do(chromedp.SetValue(chromedp.CSS(field), text))
}

// Text returns the text of an element, without space around it.
func (b *Tab) Text(element string) string {
	b.t.Helper()
	return strings.TrimSpace(Result(b, chromedp.Text(chromedp.CSS(element))))
}
