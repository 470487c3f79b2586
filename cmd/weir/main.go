// Command weir puts programs onto a TCP/IP stack of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/sandbox"
)

func main() {
	sandbox.Init() // does not return in the init process of a sandbox
	os.Exit(run(os.Args[1:]))
}

// exitError ends the command with a code, and a message if there is one.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// version is that of the module this was built from, and the commit if the build knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v
}

// run executes the command line and returns the exit code: 2 for wrong usage, else what the command says.
func run(args []string) int {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "A TCP/IP stack in a process, and programs put onto it",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(demoCommand(), drillCommand(), runCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{2, err}
	}
	if exit.err != nil {
		fmt.Fprintf(os.Stderr, "weir: %v\n", exit.err)
	}
	return exit.code
}
