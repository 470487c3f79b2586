package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/drill"
)

// drillCommand is `weir drill`.
func drillCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "drill FILE...",
		Short: "Run packetdrill scripts against weir's TCP, in virtual time",
		Long: `Each file is a script in packetdrill's language: socket calls, segments that arrive, and segments that must be sent, each at its
time. It runs against a host in this process. Time is virtual, so that a script of minutes takes milliseconds and is exact. No privileges
are needed and nothing leaves the process. The exit code is 1 if a script does not hold, 2 if one cannot be read.`,
		Example: `  weir drill handshake.pkt
  weir drill -v drill/testdata/base/*.pkt`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error { return runDrill(files, verbose) },
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every packet and call, and that scripts hold")
	return cmd
}

func runDrill(files []string, verbose bool) error {
	failed := 0
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		script, err := drill.Parse(name, src)
		if err != nil {
			return err
		}
		o := drill.Options{}
		if verbose {
			fmt.Printf("%s:\n", name)
			o.Trace = os.Stdout
		}
		if err := script.Run(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed++
		} else if verbose {
			fmt.Printf("%s: holds\n", name)
		}
	}
	switch {
	case failed == 1 && len(files) == 1:
		return &exitError{1, nil}
	case failed > 0:
		return &exitError{1, fmt.Errorf("drill: %d of %d scripts do not hold", failed, len(files))}
	}
	return nil
}
