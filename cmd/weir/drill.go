package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/drill"
)

// drillCommand is `weir drill`.
func drillCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "drill FILE|DIRECTORY...",
		Short: "Run packetdrill scripts against weir's TCP, in virtual time",
		Long: `Each file is a script in packetdrill's language: socket calls, segments that arrive, and segments that must be sent, each at its
time. It runs against a host in this process. Time is virtual, so that a script of minutes takes milliseconds and is exact. No privileges
are needed and nothing leaves the process. Of a directory, all files in and below it that end in .pkt are run. All scripts are run,
whatever becomes of the first; one that holds says nothing. The exit code is 0 if all hold, 1 if one does not, 2 if one cannot be read.
The language, and what weir's dialect has beside it, is described in docs/drill.md.`,
		Example: `  weir drill handshake.pkt
  weir drill -v handshake.pkt        # every packet and call, with its time
  weir drill drill/testdata          # every script there`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say which scripts to run, as in: weir drill FILE")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, files []string) error { return runDrill(files, verbose) },
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every packet and call, and that scripts hold")
	return cmd
}

// runDrill runs the scripts one after the other, to the last one: those that cannot be read do not keep the others from it.
func runDrill(args []string, verbose bool) error {
	names, err := scriptFiles(args)
	if err != nil {
		return err
	}
	failed, unread := 0, 0
	for _, name := range names {
		script, err := readScript(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			unread++
			continue
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
	case failed+unread > 0 && len(names) == 1:
		return &exitError{min(1+unread, 2), nil}
	case unread > 0:
		return &exitError{2, fmt.Errorf("drill: %d of %d scripts cannot be read, %d do not hold", unread, len(names), failed)}
	case failed > 0:
		return &exitError{1, fmt.Errorf("drill: %d of %d scripts do not hold", failed, len(names))}
	case len(names) > 1:
		fmt.Printf("%d scripts hold\n", len(names))
	}
	return nil
}

// scriptFiles are the files named, and of directories all that end in .pkt, those in directories below too, in order.
func scriptFiles(args []string) (names []string, err error) {
	for _, arg := range args {
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			names = append(names, arg) // what is wrong with it, reading it will say
			continue
		}
		before := len(names)
		err := filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ".pkt" {
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(names) == before {
			return nil, fmt.Errorf("drill: no file under %s ends in .pkt", arg)
		}
	}
	return names, nil
}

func readScript(name string) (*drill.Script, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return drill.Parse(name, src)
}
