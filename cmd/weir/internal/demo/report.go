package demo

import (
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/weirnet/weir/cmd/weir/internal/units"
)

// showProgress writes how far the transfer is: a live line on a terminal, else a line a second. The returned function ends it.
func showProgress(o Options, received *atomic.Int64) (stop func()) {
	if o.Out == nil {
		return func() {}
	}
	every := time.Second
	if o.Terminal {
		every = 100 * time.Millisecond
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		start := time.Now()
		for {
			select {
			case <-tick.C:
				progressLine(o, received.Load(), time.Since(start))
			case <-done:
				if o.Terminal {
					fmt.Fprint(o.Out, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func progressLine(o Options, received int64, elapsed time.Duration) {
	percent := 100.0
	if o.Size > 0 {
		percent = 100 * float64(received) / float64(o.Size)
	}
	line := fmt.Sprintf("%5.1f%%  %s of %s  %s", percent, units.FormatSize(received), units.FormatSize(o.Size),
		units.FormatRate(float64(received)*8/elapsed.Seconds()))
	if o.Terminal {
		fmt.Fprintf(o.Out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(o.Out, line)
	}
}

// Describe writes what the run will do.
func (o Options) Describe(w io.Writer) {
	rate := "no rate limit"
	if o.Rate > 0 {
		rate = units.FormatRate(float64(o.Rate))
	}
	fmt.Fprintf(w, "Two hosts on a link of %s, %v round trip, %.4g%% loss, MTU %d (seed %d): fetching %s over HTTP.\n",
		rate, o.Delay, o.Loss*100, o.MTU, o.Seed, units.FormatSize(o.Size))
}

// Table writes the closing table.
func (r *Result) Table(w io.Writer, o Options) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	goodput := units.FormatRate(float64(r.Received) * 8 / r.Elapsed.Seconds())
	if o.Rate > 0 {
		goodput += fmt.Sprintf(" (%.1f%% of the link)", 100*r.LinkFraction)
	}
	row("received", "%s in %.3f s", units.FormatSize(r.Received), r.Elapsed.Seconds())
	row("goodput", "%s", goodput)
	row("round trip", "%.2f ms smoothed, %.2f ms least", r.Server.RTT.Seconds()*1e3, r.Server.MinRTT.Seconds()*1e3)
	row("retransmitted", "%d of %d segments", r.Server.Retransmits, r.Server.SegmentsSent)
	row("congestion", "%s, cwnd %s", r.Server.Congestion, units.FormatSize(int64(r.Server.Cwnd)))
	if e := r.Server.ECN; e.Capable {
		row("ECN", "%v, %d packets marked", e.Feedback, e.DeliveredCE)
	}
	row("packets", "%d from the server, %d from the client", r.Interfaces[0].TxPackets, r.Interfaces[1].TxPackets)
	row("SHA-256 sent", "%s", hex.EncodeToString(r.Sent[:]))
	row("SHA-256 received", "%s", hex.EncodeToString(r.Got[:]))
	verdict := "the bytes are equal"
	if !r.Equal() {
		verdict = "THE BYTES DIFFER"
	}
	row("verdict", "%s", verdict)
	t.Flush()
}
