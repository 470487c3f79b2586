package main

import (
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
)

// A model of contention: n cores, of which each does its own part of a packet's work and then writes lines that all cores write, one at a
// time. That is a closed queueing network, each line a station with one server; its throughput is found by mean value analysis (Reiser and
// Lavenberg 1980), which is exact for stations whose times are exponential, and close to it for others.

// shared is a structure that cores write in turn.
type shared struct {
	name   string
	visits float64 // for each packet
	copies float64 // lines or locks of its kind among which the visits are spread evenly
	held   float64 // ns it is held beyond the hand-over of its line
}

// perPacket is what one end of a stream does to shared structures for each packet (docs/scale.md says where). Queues stands for as many
// transmit queues as there are cores up to 8.
var perPacket = []shared{
	{"counters of the pools", 4, 16, 0},
	{"counter of segments", 1, 1, 0},
	{"memory budget", 2, 1, 0},
	{"shards of the flow table", 1, 64, 40},
	{"transmit queues", 1, 8, 13},
	{"timer wheel", 0.02, 1, 30},
}

// contention prints what the model says.
func contention(args []string) error {
	f := flag.NewFlagSet("bench scale", flag.ContinueOnError)
	private := f.Float64("private", 215, "ns of a packet's work at one end that no other core meets")
	if err := parse(f, args); err != nil {
		return err
	}
	if *private <= 0 {
		return fmt.Errorf("-private %v: it must be a time, in ns", *private)
	}
	handovers := []float64{10, 50, 100}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "million packets/s at one end\tcores\t")
	for _, h := range handovers {
		fmt.Fprintf(t, "hand-over %v ns\t", h)
	}
	fmt.Fprintf(t, "\n")
	for cores := 1; cores <= 64; cores *= 2 {
		fmt.Fprintf(t, "\t%d\t", cores)
		for _, h := range handovers {
			x := throughput(cores, *private, demands(h))
			fmt.Fprintf(t, "%.1f\t", x*1e3)
		}
		fmt.Fprintf(t, "\n")
	}
	return t.Flush()
}

// demands are the ns that a packet needs of each station, when a line's hand-over takes so many.
func demands(handover float64) (all []float64) {
	for _, s := range perPacket {
		for range int(s.copies) {
			all = append(all, s.visits*(handover+s.held)/s.copies)
		}
	}
	return all
}

// throughput is how many packets a ns n cores do, of which each has private ns of work that waits for nobody, and then needs each station
// for its demand.
func throughput(n int, private float64, demand []float64) (x float64) {
	queue := make([]float64, len(demand)) // cores at each station
	wait := make([]float64, len(demand))
	for cores := 1; cores <= n; cores++ {
		round := private
		for i, d := range demand {
			wait[i] = d * (1 + queue[i]) // who comes finds what one core less would leave
			round += wait[i]
		}
		x = float64(cores) / round
		for i := range queue {
			queue[i] = x * wait[i]
		}
	}
	return x
}
