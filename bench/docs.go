package main

import (
	"bytes"
	"os"
	"path/filepath"

	_ "gonum.org/v1/plot/vg/vgsvg" // plots are SVG
)

// writeDocs writes the table and the plots into a directory.
func writeDocs(r *results, known []test, dir string) error {
	var b bytes.Buffer
	markdown(&b, r, known)
	b.WriteByte('\n')
	legend(&b, r, known)
	if err := os.WriteFile(filepath.Join(dir, "performance-table.md"), b.Bytes(), 0o644); err != nil {
		return err
	}
	return drawAll(r, known, filepath.Join(dir, "plots"))
}
