package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestFailures runs scripts that must not hold. Each archive under testdata/fail has pairs of files: NAME.pkt, and NAME.want with the
// texts that the error must contain, one a line.
func TestFailures(t *testing.T) {
	paths, err := filepath.Glob("testdata/fail/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no archives under testdata/fail", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, f := range archive.Files {
			files[f.Name] = string(f.Data)
		}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".pkt")
			if !ok {
				continue
			}
			want, ok := files[name+".want"]
			if !ok {
				t.Fatalf("%s: %s.want is not there", path, name)
			}
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+name, func(t *testing.T) {
				t.Parallel()
				s, err := Parse(f.Name, f.Data)
				if err == nil {
					err = s.Run(Options{})
				}
				if err == nil {
					t.Fatal("the script holds")
				}
				for text := range strings.Lines(want) {
					if text = strings.TrimSpace(text); !strings.Contains(err.Error(), text) {
						t.Errorf("the error does not contain %q:\n%v", text, err)
					}
				}
			})
		}
	}
}

// FuzzParse looks for scripts that the parser does not survive; what it takes is run, shortly.
func FuzzParse(f *testing.F) {
	for _, path := range scripts(f) {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		s, err := Parse("fuzz.pkt", src)
		if err != nil {
			if _, ok := err.(*SyntaxError); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if len(src) > 4096 {
			return
		}
		err = s.Run(Options{})
		if _, ok := err.(*Mismatch); err != nil && !ok {
			t.Fatalf("%T: %v", err, err)
		}
		if err != nil && (strings.Contains(err.Error(), "kept memory") || strings.Contains(err.Error(), "after its end")) {
			t.Fatal(err)
		}
	})
}

// TestRunsTwice runs scripts a second time: the traces must be the same, byte for byte.
func TestRunsTwice(t *testing.T) {
	for _, path := range scripts(t) {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(path, src)
		if err != nil {
			t.Fatal(err)
		}
		var traces [2]strings.Builder
		for i := range traces {
			_ = s.Run(Options{Trace: &traces[i]})
		}
		if traces[0].String() != traces[1].String() {
			t.Errorf("%s: two runs differ", path)
		}
	}
}
