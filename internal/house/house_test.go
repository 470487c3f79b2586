package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/weirnet/weir"
	root   = "../.."
)

// floors is the house from the top down: a package imports only from floors below its own. A name ending in /... stands for a tree.
var floors = [][]string{
	{"cmd/weir/..."},
	{"sandbox"},
	{"sandbox/relay"},
	{"."},
	{"internal/stack"},
	{"tcp/tcptest"},
	{"tcp"},
	{"tcp/cc"},
	{"internal/ip"},
	{"internal/offload"},
	{"link/tun", "link/pipe", "link/loop", "link/emul", "link/capture"},
	{"link/internal/..."},
	{"link"},
	{"packet"},
	{"wire"},
	{"buffer"},
	{"sched"},
	{"checksum"},
	{"internal/siphash"},
}

// besides are packages of tests alone, which may import anything and which nothing but tests imports.
var besides = []string{"internal/house", "internal/nstest", "interop"}

// coreLibraries are what the core may import beside the standard library.
var coreLibraries = []string{"golang.org/x/sys/", "golang.org/x/net/dns/dnsmessage"}

// outside of the core are the packages from this floor up.
const coreTop = "."

// timeless names what only sched, devices and package weir may touch: the rest is given time, randomness and goroutines.
var timeless = map[string][]string{"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}}

// file is one source file that is not a test.
type file struct {
	pkg  string // relative to the module
	name string
	ast  *ast.File
	fset *token.FileSet
}

// sources parses all files of the module but tests.
func sources(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "bench" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "." {
				return fs.SkipDir // bench is a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.ToSlash(filepath.Dir(rel)), filepath.ToSlash(rel), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("found %d files: the test looks in the wrong place", len(files))
	}
	return files
}

// floor is the number of a package's floor, from the top; -1 if it has none.
func floor(pkg string) int {
	return slices.IndexFunc(floors, func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			tree, ok := strings.CutSuffix(name, "/...")
			return pkg == name || ok && (pkg == tree || strings.HasPrefix(pkg, tree+"/"))
		})
	})
}

func imports(f file) (paths []string) {
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// local is an import path relative to the module; false for all others.
func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsPointDownward(t *testing.T) {
	for _, f := range sources(t) {
		if slices.Contains(besides, f.pkg) {
			continue
		}
		from := floor(f.pkg)
		if from < 0 {
			t.Errorf("%s: package %s has no floor in the house: enter it in floors", f.name, f.pkg)
			continue
		}
		for _, path := range imports(f) {
			pkg, ok := local(path)
			if !ok {
				continue
			}
			if to := floor(pkg); to < from || to == from && !sameTree(f.pkg, pkg) {
				t.Errorf("%s imports %s, which is not below it", f.name, pkg)
			}
		}
	}
}

// sameTree: packages under one "/..." entry may import one another.
func sameTree(a, b string) bool {
	return slices.ContainsFunc(floors[floor(a)], func(name string) bool {
		tree, ok := strings.CutSuffix(name, "/...")
		return ok && strings.HasPrefix(a, tree) && strings.HasPrefix(b, tree)
	})
}

func inCore(pkg string) bool { return floor(pkg) >= floor(coreTop) && pkg != "tcp/tcptest" }

func TestCoreDependsOnLittle(t *testing.T) {
	for _, f := range sources(t) {
		if !inCore(f.pkg) {
			continue
		}
		for _, path := range imports(f) {
			if _, ours := local(path); ours || !strings.Contains(strings.Split(path, "/")[0], ".") {
				continue
			}
			if !slices.ContainsFunc(coreLibraries, func(l string) bool { return strings.HasPrefix(path, l) }) {
				t.Errorf("%s is core and imports %s", f.name, path)
			}
		}
	}
}

// mayHaveTime are the packages that have time, randomness and goroutines of their own.
func mayHaveTime(pkg string) bool {
	return pkg == "." || pkg == "sched" || pkg == "link" || strings.HasPrefix(pkg, "link/")
}

func TestTimeIsGiven(t *testing.T) {
	for _, f := range sources(t) {
		if !inCore(f.pkg) || mayHaveTime(f.pkg) {
			continue
		}
		for _, path := range imports(f) {
			if path == "math/rand" || path == "math/rand/v2" || path == "crypto/rand" || path == "hash/maphash" {
				t.Errorf("%s imports %s: randomness is given", f.name, path)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a go statement: goroutines are given", f.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(timeless[x.Name], n.Sel.Name) {
					t.Errorf("%s: %s.%s: time is given", f.fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestNoHiddenState(t *testing.T) {
	for _, f := range sources(t) {
		if !inCore(f.pkg) {
			continue
		}
		tagged := f.ast.Comments != nil && slices.ContainsFunc(f.ast.Comments, func(c *ast.CommentGroup) bool {
			return slices.ContainsFunc(c.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:build") })
		})
		tagged = tagged || strings.HasSuffix(f.name, "_linux.go")
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init", f.name)
			}
		}
		if slices.Contains(imports(f), "unsafe") && !(tagged && strings.HasPrefix(f.pkg, "link/")) {
			t.Errorf("%s imports unsafe, which is for build-tagged device files", f.name)
		}
	}
}
