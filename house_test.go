package weir_test

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weirnet/weir"

// house is the picture in docs/architecture.md: a package may import what stands below it, and its own sub-packages and neighbours of
// one line (link/… and what belongs to the command).
var house = []string{
	"cmd/weir",
	"sandbox",
	"policy",
	"drill",
	"sim",
	".",
	"internal/stack",
	"tcp",
	"internal/ip",
	"filter",
	"internal/neigh",
	"internal/offload",
	"link",
	"packet",
	"wire",
	"buffer",
	"sched",
	"checksum",
	"internal/siphash",
	"internal/during",
	"internal/order",
}

// apart are packages that nothing in the house imports: tests of several packages together, examples, helpers of tests.
var apart = []string{"examples", "interop", "internal/nstest"}

// floor is the line of the house on which a package is; -1 if it is on none.
func floor(pkg string) int {
	for i, name := range house {
		if pkg == name || name != "." && strings.HasPrefix(pkg, name+"/") {
			return i
		}
	}
	return -1
}

func under(pkg string, names ...string) bool {
	for _, n := range names {
		if pkg == n || strings.HasPrefix(pkg, n+"/") {
			return true
		}
	}
	return false
}

// source is one Go file that is not a test.
type source struct {
	pkg, path string
	fset      *token.FileSet
	file      *ast.File
}

// sources parses all of the module's files but tests, for every system at once.
func sources(t *testing.T) (all []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || exists(filepath.Join(p, "go.mod"))) {
				return fs.SkipDir // a module of its own, or none of ours
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		s := source{pkg: path.Dir(filepath.ToSlash(p)), path: filepath.ToSlash(p), fset: token.NewFileSet()}
		s.file, err = parser.ParseFile(s.fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func exists(name string) bool {
	m, err := filepath.Glob(name)
	return err == nil && len(m) > 0
}

func (s source) imports() (paths []string) {
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// TestImportRules holds the house together.
func TestImportRules(t *testing.T) {
	for _, s := range sources(t) {
		if under(s.pkg, apart...) {
			continue
		}
		own := floor(s.pkg)
		if own < 0 {
			t.Errorf("%s: package %s has no place in the house", s.path, s.pkg)
			continue
		}
		for _, p := range s.imports() {
			inside, ours := strings.CutPrefix(p, module)
			switch {
			case ours:
				to := strings.TrimPrefix(inside, "/")
				if to == "" {
					to = "."
				}
				if f := floor(to); f < own || f < 0 {
					t.Errorf("%s imports %s, which does not stand below it", s.path, p)
				}
			case core(s.pkg) && foreign(p):
				t.Errorf("%s imports %s: the core depends on nothing but the standard library, x/sys and dnsmessage", s.path, p)
			case core(s.pkg) && p == "unsafe" && !(under(s.pkg, "link") && constrained(s)):
				t.Errorf("%s imports unsafe outside a build-tagged device file", s.path)
			}
		}
	}
}

// core is package weir with all that it may import, and the devices.
func core(pkg string) bool { return floor(pkg) >= floor(".") }

// foreign reports whether an import is neither the standard library's nor one of the two that the core may have.
func foreign(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return strings.Contains(first, ".") && !under(p, "golang.org/x/sys", "golang.org/x/net/dns/dnsmessage")
}

// constrained reports whether a file is for some systems only.
func constrained(s source) bool {
	base := strings.TrimSuffix(path.Base(s.path), ".go")
	for _, system := range []string{"_linux", "_windows", "_darwin", "_freebsd", "_unix", "_amd64", "_arm64"} {
		if strings.Contains(base, system) {
			return true
		}
	}
	for _, g := range s.file.Comments {
		for _, c := range g.List {
			if constraint.IsGoBuild(c.Text) && c.Pos() < s.file.Package {
				return true
			}
		}
	}
	return false
}

// realTime are the names of package time that ask the machine's clock.
var realTime = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true,
}

// TestTimeRandomnessAndGoroutinesAreGiven looks for what would make a run under a virtual clock differ from the next. Only the clock, the
// devices, package weir and the programs above it may.
func TestTimeRandomnessAndGoroutinesAreGiven(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg == "." || under(s.pkg, "sched", "link", "cmd", "sandbox") || under(s.pkg, apart...) {
			continue
		}
		for _, p := range s.imports() {
			if under(p, "math/rand", "crypto/rand", "hash/maphash") {
				t.Errorf("%s imports %s: randomness comes from Config.Rand", s.path, p)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: a go statement: goroutines come from Config.Spawn", s.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && realTime[n.Sel.Name] {
					t.Errorf("%v: time.%s: time comes from Config.Clock", s.fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestStyleLimits holds the limits on the size of files and functions, and that there is no init.
func TestStyleLimits(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.fset.Position(s.file.FileEnd).Line; n > 800 {
			t.Errorf("%s has %d lines", s.path, n)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line; n > 80 {
				t.Errorf("%v: %s has %d lines", s.fset.Position(f.Pos()), f.Name.Name, n)
			}
			if f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%v: init", s.fset.Position(f.Pos()))
			}
		}
	}
}
