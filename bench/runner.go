package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// runner runs tests and keeps their results in a file.
type runner struct {
	runs    int
	results *results
	file    string
	now     machine
	failed  int
}

// run runs one test, its entries in turn, and saves what came of it.
func (r *runner) run(t test) error {
	w, ok := findWork(t.work)
	if !ok {
		return fmt.Errorf("test %s: no work %q", t.id, t.work)
	}
	res := testResult{ID: t.id, Unit: w.unit, Commit: r.now.Commit, Date: time.Now().UTC().Truncate(time.Second), Command: r.now.Command,
		Samples: map[string][]sample{}, Failed: map[string]string{}}
	runs := r.runs
	if t.runs != 0 {
		runs = min(runs, t.runs)
	}
	for range runs {
		if t.atOnce {
			r.together(t, &res)
		} else {
			r.inTurn(t, &res)
		}
	}
	r.failed += r.report(t, w, &res)
	if r.file == "" {
		return nil
	}
	r.results.Machine = r.now
	r.results.put(res)
	return r.results.save(r.file)
}

func (r *runner) inTurn(t test, res *testResult) {
	for _, e := range t.entries {
		if res.Failed[e.name()] == "" {
			s, err := runEntry(t, e)
			res.add(e, s, err)
		}
	}
}

func (r *runner) together(t test, res *testResult) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, e := range t.entries {
		if e.alone {
			s, err := runEntry(t, e)
			res.add(e, s, err)
		}
	}
	for _, e := range t.entries {
		if e.alone {
			continue
		}
		wg.Go(func() {
			s, err := runEntry(t, e)
			mu.Lock()
			defer mu.Unlock()
			res.add(e, s, err)
		})
	}
	wg.Wait()
}

func (t *testResult) add(e entry, s []sample, err error) {
	if err != nil {
		t.Failed[e.name()] = err.Error()
		return
	}
	t.Samples[e.name()] = append(t.Samples[e.name()], s...)
}

func runEntry(t test, e entry) ([]sample, error) {
	o := t.options
	if e.adjust != nil {
		e.adjust(&o)
	}
	return runChild(job{t.work, e.setup, o}, limit(o))
}

// limit is when a run is given up: a new connection may take half a millisecond, closed ones may take their time to go, and all the rest
// a minute.
func limit(o options) time.Duration {
	return time.Minute + patience + 10*o.Time + time.Duration(o.Conns)*500*time.Microsecond
}

// report prints a test's medians, and returns how many of weir's entries failed: a peer's failure is the table's to tell.
func (r *runner) report(t test, w work, res *testResult) (failed int) {
	fmt.Printf("%s, %s\n", t.id, w.unit)
	first := median(res.values(t.entries[0].name(), ""))
	for _, e := range t.entries {
		name := e.name()
		if why := res.Failed[name]; why != "" {
			fmt.Printf("  %-20s %s\n", name, why)
			if matches("weir", e.setup) && !strings.Contains(why, errSkip.Error()) {
				failed++
			}
			continue
		}
		m := median(res.values(name, ""))
		fmt.Printf("  %-20s %12s  %-26s %6.2f  %s\n", name, figure(m), spread(res.values(name, "")), first/m, res.note(name))
	}
	return failed
}

// note is that of the entry's last sample.
func (t *testResult) note(entry string) string {
	s := t.Samples[entry]
	if len(s) == 0 {
		return ""
	}
	return s[len(s)-1].Note
}

// all runs the tests that were chosen, and goes on when one fails.
func (r *runner) all(chosen []test) error {
	var errs []error
	for _, t := range chosen {
		if err := r.run(t); err != nil {
			errs = append(errs, err)
		}
	}
	if r.failed > 0 {
		errs = append(errs, fmt.Errorf("%d measurements of weir failed: see above", r.failed))
	}
	if r.file != "" {
		fmt.Fprintf(os.Stderr, "results are in %s\n", r.file)
	}
	return errors.Join(errs...)
}
