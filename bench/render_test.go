package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// example is a test with two peers of one family, one of which did not run to its end.
func example() (test, testResult) {
	t := test{id: "t", work: "bulk", entries: over("weir", "gvisor/pipe", "gvisor/channel", "kernel/lo"), rows: []row{
		{title: "speed", unit: "GB/s", asks: []ask{{times: 2, peer: "gvisor"}, {times: 2, peer: "kernel/lo"}}},
		{title: "cost", key: "cost", lower: true, asks: []ask{{times: .75, peer: "gvisor"}, {times: 0}}},
	}}
	of := func(cost float64, v ...float64) (s []sample) {
		for _, x := range v {
			s = append(s, sample{Value: x, More: map[string]float64{"cost": cost}})
		}
		return s
	}
	return t, testResult{ID: "t", Samples: map[string][]sample{
		"weir": of(3, 9, 10, 11), "gvisor/pipe": of(5, 1, 2, 3), "gvisor/channel": of(4.5, 4, 5, 6),
	}, Failed: map[string]string{"kernel/lo": "no namespace"}}
}

func TestMarkdown(t *testing.T) {
	one, res := example()
	r := &results{Machine: machine{Command: "bench all -only t"}, Tests: []testResult{res}}
	var b strings.Builder
	markdown(&b, r, []test{one, {id: "not run", rows: one.rows}})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := []string{
		"| speed, GB/s | 10 (9–11) | gvisor/pipe 2 (1–3)<br>gvisor/channel 5 (4–6) | 5.00 gvisor/pipe<br>2.00 gvisor/channel | ≥ 2 × gvisor, ≥ 2 × kernel/lo | yes, ? |",
		"| cost | 3 (3–3) | gvisor/pipe 5 (5–5)<br>gvisor/channel 4.50 (4.50–4.50) | 0.60 gvisor/pipe<br>0.67 gvisor/channel | ≤ 0.75 × gvisor, ≤ 0 | yes, **no** |",
	}
	if len(lines) != 4 || lines[2] != want[0] || lines[3] != want[1] {
		t.Errorf("the table is\n%s\nwant its last lines to be\n%s", b.String(), strings.Join(want, "\n"))
	}
	b.Reset()
	legend(&b, r, []test{one})
	for _, part := range []string{"`t`: kernel/lo: no namespace", "**gvisor/channel**: two gVisor", "by ``: `t`."} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("the legend has no %q:\n%s", part, b.String())
		}
	}
}

// What a later run measured replaces what is in the file; the rest stays.
func TestMerge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r, err := load(file)
	if err != nil || len(r.Tests) != 0 {
		t.Fatalf("a file that is not there: %v, %d tests", err, len(r.Tests))
	}
	r.put(testResult{ID: "a", Commit: "1"})
	r.put(testResult{ID: "b", Commit: "1"})
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	if r, err = load(file); err != nil {
		t.Fatal(err)
	}
	r.put(testResult{ID: "a", Commit: "2"})
	if len(r.Tests) != 2 || r.find("a").Commit != "2" || r.find("b").Commit != "1" {
		t.Errorf("merged: %+v", r.Tests)
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"all -only walk":           "it must be one of bulk",
		"all -skip walk":           "it must be one of bulk",
		"all -runs 0":              "one run at least",
		"all bulk":                 `what is "bulk" for`,
		"run -work walk":           "it must be one of bulk",
		"run -peer windows":        "it must be one of",
		"run -runs 0":              "must be at least 1",
		"run -work crr -clients 0": "must be at least 1",
		"render":                   "one file",
		"render nowhere.json":      "no such file",
		"walk":                     "all, render, run, list or scale",
	} {
		if err := command(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bench %s: %v, want it to say %q", args, err, want)
		}
	}
}

// Each test names a work, set-ups that the work knows, and peers in its demands that take part.
func TestTests(t *testing.T) {
	seen, known := map[string]bool{}, tests(fullScale)
	for _, one := range known {
		if seen[one.id] {
			t.Errorf("%s is there twice", one.id)
		}
		seen[one.id] = true
		w, ok := findWork(one.work)
		if !ok {
			t.Errorf("%s: no work %q", one.id, one.work)
		}
		for _, e := range one.entries {
			if _, ok := findSetup(e.setup); !ok {
				t.Errorf("%s: no set-up %q", one.id, e.setup)
			}
		}
		for _, row := range one.rows {
			for _, a := range row.asks {
				if a.test != "" && !slices.ContainsFunc(known, func(t test) bool { return t.id == a.test }) {
					t.Errorf("%s: %s asks for test %s, which there is not", one.id, row.title, a.test)
				}
				if a.peer != "" && !hasPeer(one, a.peer) {
					t.Errorf("%s: %s asks for %s, which does not take part", one.id, row.title, a.peer)
				}
			}
		}
		for _, p := range w.peers {
			if _, ok := findSetup(p); !ok {
				t.Errorf("work %s: no set-up %q", w.name, p)
			}
		}
	}
}

func hasPeer(t test, peer string) bool {
	for _, e := range t.entries[1:] {
		if matches(peer, e.name()) {
			return true
		}
	}
	return false
}

// The table of a page is replaced, and nothing else of it.
func TestBetween(t *testing.T) {
	page := "above\n" + tableBegin + "old\n" + tableEnd + "below\n"
	got, ok := between([]byte(page), tableBegin, tableEnd, []byte("new\n"))
	if want := "above\n" + tableBegin + "new\n" + tableEnd + "below\n"; !ok || string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, page := range []string{"", tableBegin, tableEnd, tableEnd + tableBegin} {
		if got, ok := between([]byte(page), tableBegin, tableEnd, nil); ok {
			t.Errorf("%q became %q", page, got)
		}
	}
}
