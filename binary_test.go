package weir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// largerBy is how much larger a program may be with weir than the same with package net, in bytes of a stripped binary for linux/amd64.
const largerBy = 1_000_000

// TestBinarySize builds the same program twice, with package net and with weir, and compares. If it fails, look for a package that came in
// (go list -deps ./testdata/size/weir), then for code: go tool nm -size -sort size.
func TestBinarySize(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("links two programs, for linux/amd64")
	}
	size := map[string]int64{}
	for _, name := range []string{"net", "weir"} {
		out := filepath.Join(t.TempDir(), name)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./testdata/size/"+name)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		size[name] = info.Size()
		b, err := exec.Command(out).Output()
		if err != nil || string(b) != "hello" {
			t.Errorf("the program with %s says %q: %v", name, b, err)
		}
	}
	larger := size["weir"] - size["net"]
	t.Logf("with net %d bytes, with weir %d: %d more", size["net"], size["weir"], larger)
	if larger > largerBy {
		t.Errorf("a program is %d bytes larger with weir, want at most %d", larger, largerBy)
	}
}

// TestLinkedPackages names what a program with weir must not be linked with: much code for what the core can do without.
func TestLinkedPackages(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64")
	b, err := cmd.Output()
	if err != nil {
		t.Skip("no go command: ", err)
	}
	for _, p := range strings.Fields(string(b)) {
		if slices.Contains([]string{"fmt", "log", "regexp", "text/template", module + "/tcp/auth"}, p) || under(p, "crypto", "math/big") ||
			under(p, "golang.org/x/net") && p != "golang.org/x/net/dns/dnsmessage" {
			t.Errorf("package weir is linked with %s", p)
		}
	}
}
