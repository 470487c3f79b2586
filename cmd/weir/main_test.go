package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirnet/weir/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init() // the tests' own binary is the init of the sandboxes that they start
	testscript.Main(m, map[string]func(){"weir": main})
}

// TestDemo runs the demo's scripts, which need nothing from the system.
func TestDemo(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/demo"})
}

// TestDrill runs the scripts of `weir drill`, which need nothing from the system either.
func TestDrill(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/drill"})
}
