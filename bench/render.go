package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// spread is the smallest and the largest value.
func spread(v []float64) string {
	if len(v) < 2 {
		return ""
	}
	return fmt.Sprintf("(%s–%s)", figure(slices.Min(v)), figure(slices.Max(v)))
}

// markdown writes the table: a line for each row of a test that has results.
func markdown(out io.Writer, r *results, all []test) {
	fmt.Fprintln(out, "| work | weir | peers | weir : peer | asked | reached |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	for _, t := range all {
		res := r.find(t.id)
		if res == nil {
			continue
		}
		for _, row := range t.rows {
			if line := row.line(t, r); line != "" {
				fmt.Fprintln(out, line)
			}
		}
	}
}

// line is one of the table, "" if nobody has the figure.
func (w row) line(t test, r *results) string {
	res := r.find(t.id)
	mine := res.values(t.entries[0].name(), w.key)
	var peers, ratios []string
	for _, e := range t.entries[1:] {
		v := res.values(e.name(), w.key)
		if len(v) == 0 {
			continue
		}
		peers = append(peers, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.name(), figure(median(v)), spread(v))))
		if m := median(v); m != 0 && len(mine) > 0 {
			ratios = append(ratios, fmt.Sprintf("%.2f %s", median(mine)/m, e.name()))
		}
	}
	for _, a := range w.asks {
		if v := r.find(a.test).values(t.entries[0].name(), w.key); a.test != "" && len(v) > 0 && len(mine) > 0 {
			peers = append(peers, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.test, figure(median(v)), spread(v))))
			ratios = append(ratios, fmt.Sprintf("%.2f %s", median(mine)/median(v), a.test))
		}
	}
	if len(mine) == 0 && len(peers) == 0 {
		return ""
	}
	title := w.title
	if w.unit != "" {
		title += ", " + w.unit
	}
	weir := "–"
	if len(mine) > 0 {
		weir = strings.TrimSpace(figure(median(mine)) + " " + spread(mine))
	}
	asked, reached := w.verdict(t, r)
	cells := []string{title, weir, dash(strings.Join(peers, "<br>")), dash(strings.Join(ratios, "<br>")), dash(asked), dash(reached)}
	return "| " + strings.Join(cells, " | ") + " |"
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// verdict says what was asked, and whether it was reached.
func (w row) verdict(t test, r *results) (asked, reached string) {
	var texts, verdicts []string
	res := r.find(t.id)
	mine := res.values(t.entries[0].name(), w.key)
	for _, a := range w.asks {
		texts = append(texts, a.text(w))
		bound, ok := a.bound(w, t, r)
		switch {
		case !ok || len(mine) == 0:
			verdicts = append(verdicts, "?")
		case w.meets(median(mine), bound):
			verdicts = append(verdicts, "yes")
		default:
			verdicts = append(verdicts, "**no**")
		}
	}
	if len(slices.Compact(slices.Clone(verdicts))) == 1 {
		verdicts = verdicts[:1]
	}
	return strings.Join(texts, ", "), strings.Join(verdicts, ", ")
}

// tolerance is for figures that ask for none at all: a timer or the collector allocates now and then.
const tolerance = .01

func (w row) meets(v, bound float64) bool {
	if w.lower {
		return v <= bound+tolerance
	}
	return v >= bound
}

func (a ask) text(w row) string {
	sign := "≥"
	if w.lower {
		sign = "≤"
	}
	switch {
	case a.test != "":
		return fmt.Sprintf("%s %s × %s", sign, figure(a.times), a.test)
	case a.peer != "":
		return fmt.Sprintf("%s %s × %s", sign, figure(a.times), a.peer)
	}
	return sign + " " + figure(a.times)
}

// bound is what weir's median is held against: of several peers that are meant, the best.
func (a ask) bound(w row, t test, r *results) (bound float64, ok bool) {
	res := r.find(t.id)
	switch {
	case a.test != "":
		v := r.find(a.test).values(t.entries[0].name(), w.key)
		return a.times * median(v), len(v) > 0
	case a.peer == "":
		return a.times, true
	}
	for _, e := range t.entries[1:] {
		v := res.values(e.name(), w.key)
		if !matches(a.peer, e.name()) || len(v) == 0 {
			continue
		}
		m := median(v)
		if !ok || (m < bound) == w.lower {
			bound, ok = m, true
		}
	}
	return a.times * bound, ok
}

// legend says what was taken where, and what each set-up is.
func legend(out io.Writer, r *results, all []test) {
	m := r.Machine
	fmt.Fprintf(out, "Taken at commit %s on %s: %d cores of %s, %.0f GiB, Linux %s, %s, gVisor %s. Command: `%s`.\n",
		m.Commit, m.Date.Format("2006-01-02"), m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Gvisor, m.Command)
	for _, line := range r.otherRuns() {
		fmt.Fprintln(out, line)
	}
	for i := range r.Tests {
		t := &r.Tests[i]
		for _, name := range slices.Sorted(maps.Keys(t.Failed)) {
			fmt.Fprintf(out, "`%s`: %s: %s\n", t.ID, name, strings.ReplaceAll(t.Failed[name], "\n", " "))
		}
	}
	fmt.Fprintln(out)
	for _, s := range setups {
		if used(s.name, r, all) {
			fmt.Fprintf(out, "- **%s**: %s.\n", s.name, s.about)
		}
	}
}

// used says whether a set-up has results.
func used(name string, r *results, all []test) bool {
	return slices.ContainsFunc(all, func(t test) bool {
		return r.find(t.id) != nil && slices.ContainsFunc(t.entries, func(e entry) bool { return e.setup == name })
	})
}

// otherRuns says which tests were taken by earlier commands than the last, a line for each command.
func (r *results) otherRuns() (lines []string) {
	var how []string
	taken := map[string][]string{}
	for i := range r.Tests {
		t := &r.Tests[i]
		if t.Commit == r.Machine.Commit && t.Command == r.Machine.Command {
			continue
		}
		h := fmt.Sprintf("at commit %s on %s by `%s`", t.Commit, t.Date.Format("2006-01-02"), t.Command)
		if taken[h] == nil {
			how = append(how, h)
		}
		taken[h] = append(taken[h], "`"+t.ID+"`")
	}
	for _, h := range how {
		lines = append(lines, fmt.Sprintf("Taken %s: %s.", h, strings.Join(taken[h], ", ")))
	}
	return lines
}
