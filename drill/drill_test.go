package drill

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scripts are the files under testdata that end with .pkt, but those that are to fail.
func scripts(t testing.TB) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("testdata", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "fail" || d.Name() == "fuzz") {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(p, ".pkt") {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestScripts runs every script.
func TestScripts(t *testing.T) {
	all := scripts(t)
	if len(all) == 0 {
		t.Fatal("no scripts under testdata")
	}
	for _, path := range all {
		name, _ := filepath.Rel("testdata", path)
		t.Run(strings.TrimSuffix(filepath.ToSlash(name), ".pkt"), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(filepath.ToSlash(path), src)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(Options{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
