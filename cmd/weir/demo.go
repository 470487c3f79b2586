package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/cmd/weir/internal/demo"
	"github.com/weirnet/weir/cmd/weir/internal/units"
	"github.com/weirnet/weir/tcp/cc"
)

// demoCommand is `weir demo`.
func demoCommand() *cobra.Command {
	o := demo.Options{}
	var ecn string
	rate, size, loss := units.Rate(100e6), units.Size(32<<20), units.Share(0)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Fetch a file between two hosts in this process, over an emulated link",
		Long: `Two hosts in this process, each with a stack of its own, joined by an emulated link. One serves a file over HTTP, the other
fetches it. No privileges are needed and nothing leaves the process. The exit code is 1 if the bytes differ.`,
		Example: `  weir demo
  weir demo --rate 10mbit --delay 80ms --loss 1% --size 4MiB
  weir demo --mtu 9000 --cc reno --pcap demo.pcapng
  weir demo --rate 20mbit --cc bbr --ecn accurate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Rate, o.Size, o.Loss = int64(rate), int64(size), float64(loss)
			mode, ok := ecnModes[ecn]
			if !ok {
				return fmt.Errorf("--ecn %s: must be classic or accurate", ecn)
			}
			o.ECN = mode
			return runDemo(cmd, o)
		},
	}
	f := cmd.Flags()
	f.Var(&rate, "rate", "rate of the link each way (100mbit, 1gbit; 0: no limit)")
	f.DurationVar(&o.Delay, "delay", 20*time.Millisecond, "round-trip time of the link")
	f.Var(&loss, "loss", "share of packets lost each way (0.5%, 0.005)")
	f.IntVar(&o.MTU, "mtu", 1500, "MTU of the link, 576 to 65535")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the file's bytes and of the losses")
	f.Var(&size, "size", "size of the file (32MiB, 500kB)")
	f.StringVar(&o.Congestion, "cc", "", "congestion control: cubic, reno, bbr or bbr-tolerant (default: the stack's)")
	f.StringVar(&ecn, "ecn", "", "have the link mark packets before it loses any, and the hosts ask for that: classic (RFC 3168) or accurate (RFC 9768)")
	f.StringVar(&o.Pcap, "pcap", "", "write what crosses the link to this pcapng file")
	return cmd
}

// ecnModes are what --ecn can say; nothing: the stack's default, and a link that marks nothing.
var ecnModes = map[string]weir.ECNMode{"": weir.ECNDefault, "classic": weir.ECNAsk, "accurate": weir.AccECNAsk}

func runDemo(cmd *cobra.Command, o demo.Options) error {
	switch {
	case o.MTU < 576 || o.MTU > 65535:
		return fmt.Errorf("--mtu %d: must be 576 to 65535", o.MTU)
	case o.Delay < 0 || o.Delay > time.Minute:
		return fmt.Errorf("--delay %v: must be 0 to 1m", o.Delay)
	case o.Loss > 0.9:
		return fmt.Errorf("--loss %v: next to nothing would arrive: must be 0%% to 90%%", units.Share(o.Loss))
	case o.Congestion != "" && !slices.Contains(cc.Names(), o.Congestion):
		return fmt.Errorf("--cc %s: must be one of %s", o.Congestion, strings.Join(cc.Names(), ", "))
	}
	o.Out = os.Stdout
	o.Terminal = term.IsTerminal(int(os.Stdout.Fd()))
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.Describe(o.Out)
	r, err := demo.Run(ctx, o)
	if err != nil {
		return &exitError{1, fmt.Errorf("demo: %w", err)}
	}
	r.Table(o.Out, o)
	if !r.Equal() {
		return &exitError{1, nil}
	}
	return nil
}
