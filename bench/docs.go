package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	_ "gonum.org/v1/plot/vg/vgsvg" // plots are SVG
)

// The lines of performance.md between which the table is.
const (
	tableBegin = "<!-- bench render writes what follows -->\n"
	tableEnd   = "<!-- bench render wrote this -->\n"
)

// writeDocs puts the table into a directory's performance.md, in the place of what was there, and the plots below it.
func writeDocs(r *results, known []test, dir string) error {
	page := filepath.Join(dir, "performance.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	markdown(&b, r, known)
	b.WriteByte('\n')
	legend(&b, r, known)
	text, ok := between(text, tableBegin, tableEnd, b.Bytes())
	if !ok {
		return fmt.Errorf("%s: there is no line %q with %q after it, between which the table goes", page, tableBegin, tableEnd)
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return err
	}
	return drawAll(r, known, filepath.Join(dir, "plots"))
}

// between puts part in the place of what stands between two lines of text; false if they are not there.
func between(text []byte, begin, end string, part []byte) ([]byte, bool) {
	head, rest, ok := bytes.Cut(text, []byte(begin))
	if !ok {
		return nil, false
	}
	_, tail, ok := bytes.Cut(rest, []byte(end))
	if !ok {
		return nil, false
	}
	return bytes.Join([][]byte{head, []byte(begin), part, []byte(end), tail}, nil), true
}
