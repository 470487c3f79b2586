// Command bench runs one kind of work over weir and its peers, in turn and in one process, and prints the medians and their ratios.
//
//	go run . -peer weir,gvisor,kernel -work bulk -mtu 1500
//
// Both ends run in this process. Without -mtu, packets are as large as the peer can make them (super-segments); with it, every packet
// has at most that size, and no offload helps. Absolute figures of a busy machine mean little: the ratios of one run are what counts.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// options of one measurement.
type options struct {
	mtu     int // 0: super-segments
	streams int
	clients int
	conns   int
	time    time.Duration
}

// result is one figure; higher is better unless the work says so.
type result struct {
	value float64
	note  string
}

// work is one kind of load.
type work struct {
	unit string
	run  func(w world, o options) (result, error)
}

var works = map[string]work{
	"bulk": {"GB/s", bulk},
	"rr":   {"round trips/s", roundTrips},
	"crr":  {"connections/s", connections},
	"udp":  {"datagrams/s", datagrams},
	"idle": {"bytes of heap per end", idle},
}

func main() {
	peersFlag := flag.String("peer", "weir,gvisor,kernel", "peers, the first one is compared with the others")
	workFlag := flag.String("work", "bulk", "bulk, rr, crr, udp or idle")
	runs := flag.Int("runs", 5, "runs of each peer, interleaved")
	var o options
	flag.IntVar(&o.mtu, "mtu", 0, "packet size without offloads; 0: super-segments")
	flag.DurationVar(&o.time, "time", time.Second, "length of one run")
	flag.IntVar(&o.streams, "streams", 1, "bulk: connections at once")
	flag.IntVar(&o.clients, "clients", 1, "crr: clients at once")
	flag.IntVar(&o.conns, "conns", 10_000, "idle: connections")
	inner := flag.Bool("in-namespace", false, "internal: already inside the namespace of its own")
	flag.Parse()

	w, ok := works[*workFlag]
	if !ok {
		fail(fmt.Errorf("-work %q: must be bulk, rr, crr, udp or idle", *workFlag))
	}
	chosen, err := choose(*peersFlag)
	if err != nil {
		fail(err)
	}
	if slices.ContainsFunc(chosen, func(p peer) bool { return p.name == "kernel" }) && !*inner {
		os.Exit(reexecInNamespace())
	}
	if err := compare(chosen, w, *workFlag, o, *runs); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// choose finds the peers named in a comma-separated list.
func choose(list string) ([]peer, error) {
	var chosen []peer
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-peer %q: must be weir, gvisor or kernel", name)
		}
		chosen = append(chosen, peers[i])
	}
	return chosen, nil
}

// compare runs all peers in turn, runs times, and prints the table.
func compare(chosen []peer, w work, name string, o options, runs int) error {
	values := make([][]float64, len(chosen))
	notes := make([]string, len(chosen))
	for range runs {
		for i, p := range chosen {
			r, err := once(p, w, o)
			if err != nil {
				return fmt.Errorf("%s over %s: %w", name, p.name, err)
			}
			values[i] = append(values[i], r.value)
			notes[i] = r.note
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s, %s\tmedian\tmin\tmax\t%s : it\t\n", name, w.unit, chosen[0].name)
	first := median(values[0])
	for i, p := range chosen {
		m := median(values[i])
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%s\n", p.name, figure(m), figure(slices.Min(values[i])), figure(slices.Max(values[i])), first/m, notes[i])
	}
	return t.Flush()
}

// once opens a fresh world and does the work in it.
func once(p peer, w work, o options) (result, error) {
	wd, err := p.open(o.mtu)
	if err != nil {
		return result{}, err
	}
	defer wd.close()
	return w.run(wd, o)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// figure writes a number with about three significant digits.
func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
