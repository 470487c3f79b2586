package drill

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRequirements holds docs/tcp.md to what is there: each script and test that its tables of requirements name exists, each MUST has
// one, and no script of testdata/rfc9293 is left out.
func TestRequirements(t *testing.T) {
	page, err := os.ReadFile("../docs/tcp.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, " | ")
		if len(cells) != 5 || !regexp.MustCompile(`^\| (MUST|SHLD|MAY|REC)-\d+`).MatchString(line) {
			continue
		}
		rows++
		shown := cells[4]
		scripts := regexp.MustCompile(`\(\.\./drill/(testdata/[^)]*)\)`).FindAllStringSubmatch(shown, -1)
		tests := regexp.MustCompile("`(Test\\w+)` in `([\\w/]+)`").FindAllStringSubmatch(shown, -1)
		if strings.HasPrefix(line, "| MUST") && len(scripts)+len(tests) == 0 {
			t.Errorf("nothing shows %s", line)
		}
		for _, s := range scripts {
			named[s[1]] = true
			if _, err := os.Stat(s[1]); err != nil {
				t.Errorf("%s: %v", cells[0], err)
			}
		}
		for _, f := range tests {
			if !hasTest(t, f[2], f[1]) {
				t.Errorf("%s: there is no %s in %s", cells[0], f[1], f[2])
			}
		}
	}
	if rows < 119 {
		t.Errorf("only %d rows were found", rows)
	}
	files, _ := filepath.Glob("testdata/rfc9293/*.pkt")
	for _, f := range files {
		if !named[filepath.ToSlash(f)] {
			t.Errorf("%s is not in docs/tcp.md", f)
		}
	}
}

// hasTest: a test file of the package in dir, from the root of the module, has the function.
func hasTest(t *testing.T, dir, name string) bool {
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
