package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/sandbox"
	"github.com/weirnet/weir/sandbox/relay"
)

// runOptions are the flags of `weir run`.
type runOptions struct {
	ports        []string
	pcap         string
	mtu          int
	noPIDNS      bool
	hostLoopback bool
}

// runCommand is `weir run`.
func runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] -- command [argument...]",
		Short: "Run a program on a network of its own, whose one way out is a stack in this process",
		Long: `The program runs in its own user and network namespace; all that it sends goes to a TCP/IP stack in this process, which relays it by
ordinary sockets: TCP, UDP, ping and DNS, IPv4 and IPv6. No privileges are needed. http://weir.internal/ shows, from inside, what the
stack sees. The exit code is the program's (128+n if signal n ended it), 125 if weir failed, 126 if the program could not be executed,
127 if it was not found.`,
		Example: `  weir run -- curl -s https://example.com/
  weir run -p 8080:80 -- python3 -m http.server 80
  weir run --pcap out.pcapng -- npm ci`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say what to run: weir run [flags] -- command [argument...]")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runProgram(cmd, args, o) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringArrayVarP(&o.ports, "publish", "p", nil, "publish a TCP port of the program on the host, as [ip:]host:guest (repeatable)")
	f.StringVar(&o.pcap, "pcap", "", "write what crosses the program's interface to this pcapng file")
	f.IntVar(&o.mtu, "mtu", 0, "MTU of the program's interface, 1280 to 65535 (default 1500)")
	f.BoolVar(&o.noPIDNS, "no-pid-ns", false, "leave the program in this PID namespace")
	f.BoolVar(&o.hostLoopback, "allow-host-loopback", false, "let the gateway address lead to this host's 127.0.0.1 and ::1")
	return cmd
}

// runProgram runs the program and returns its exit code as an error.
func runProgram(cmd *cobra.Command, args []string, o runOptions) error {
	if o.mtu != 0 && (o.mtu < 1280 || o.mtu > 65535) {
		return fmt.Errorf("--mtu %d: must be 1280 to 65535", o.mtu)
	}
	c := sandbox.CommandContext(cmd.Context(), args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.MTU, c.NoPIDNamespace, c.AllowHostLoopback = o.mtu, o.noPIDNS, o.hostLoopback
	c.ForwardSignals = true
	c.Notice = func(line string) { fmt.Fprintf(os.Stderr, "weir: %s\n", line) }
	for _, s := range o.ports {
		p, err := relay.ParsePort(s)
		if err != nil {
			return err
		}
		c.Publish = append(c.Publish, p)
	}
	if o.pcap != "" {
		f, err := os.Create(o.pcap)
		if err != nil {
			return &exitError{sandbox.ExitFailed, fmt.Errorf("open the capture file: %w", err)}
		}
		defer f.Close()
		c.Capture = f
	}
	err := c.Start()
	if err == nil {
		for i, at := range c.Published() {
			if c.Publish[i].Host.Port() == 0 {
				c.Notice(fmt.Sprintf("port %d is published at %v", c.Publish[i].Guest, at))
			}
		}
		err = c.Wait()
	}
	code := sandbox.ExitCode(err)
	var exit *sandbox.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &exitError{code, nil}
	}
	return &exitError{code, err}
}
