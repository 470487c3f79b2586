// Command bench measures weir beside its peers, gVisor and the Linux kernel, in turn and on the same machine.
//
//	bench all [-quick] [-only work,…] [-skip work,…] [-runs N] [-time D] [-o FILE.json]   everything in docs/performance.md, with its table and plots
//	bench render [-docs DIR] FILE.json                                     the table and the plots of an earlier run
//	bench run [-work W] [-peer P,…] [-mtu N] …                             one work, for a closer look
//	bench list                                                             works, tests and set-ups
//	bench scale [-private NS]                                              a model: how many cores share what they share (docs/scale.md)
//
// Absolute figures of a busy machine mean little: the ratios of one run are what counts. Each measurement is a process of its own, and
// both ends are in it; where the kernel takes part, in a user and network namespace of its own, so that nobody need be root.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	raiseFiles()
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var commands = map[string]func(args []string) error{"all": all, "render": render, "run": run, "list": list, "scale": contention, "child": childCommand}

func command(args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return run(args)
	}
	c, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q: it is all, render, run, list or scale", args[0])
	}
	return c(args[1:])
}

func childCommand(args []string) error {
	if len(args) != 1 {
		return errors.New("child is for bench itself")
	}
	return child(args[0])
}

// all runs the tests of the table.
func all(args []string) error {
	f := flag.NewFlagSet("bench all", flag.ContinueOnError)
	quick := f.Bool("quick", false, "everything once and briefly, in about two minutes: does it work?")
	only := f.String("only", "", "these works or tests, with commas between; their results replace those in the file")
	skip := f.String("skip", "", "not these works or tests")
	runs := f.Int("runs", 5, "runs of each peer, interleaved")
	length := f.Duration("time", 0, "length of a run; 0: half a second, with -quick 60 ms; lossy, conns and timers have lengths of their own")
	many := f.Int("conns", 0, "connections of the work million; 0: 1,000,000, with -quick 20,000")
	file := f.String("o", "bench.json", "the file of results")
	docs := f.String("docs", "", "directory of performance.md, whose table is replaced, and plots/; empty: the table on standard output, no plots")
	if err := parse(f, args); err != nil {
		return err
	}
	c := fullScale
	if *quick {
		c, *runs = quickScale, 1
	}
	if *length < 0 || *runs < 1 || *many < 0 {
		return fmt.Errorf("-runs %d -time %v -conns %d: there must be one run at least, and nothing negative", *runs, *length, *many)
	}
	if *length > 0 {
		c.Time = *length
	}
	if *many > 0 {
		c.Many = *many
	}
	known := tests(c)
	chosen, err := choose(known, *only)
	if err != nil {
		return err
	}
	if *skip != "" {
		not, err := choose(known, *skip)
		if err != nil {
			return err
		}
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(t test) bool {
			return slices.ContainsFunc(not, func(n test) bool { return n.id == t.id })
		})
	}
	res, err := load(*file)
	if err != nil {
		return err
	}
	res.Scale = c
	r := &runner{runs: *runs, results: res, file: *file, now: thisMachine()}
	err = r.all(chosen)
	return errors.Join(err, publish(res, known, *docs))
}

// choose finds the tests of a list of works, tests or parts of a test's name in front of a slash; an empty list is all.
func choose(known []test, only string) (chosen []test, err error) {
	if only == "" {
		return known, nil
	}
	for _, name := range strings.Split(only, ",") {
		before := len(chosen)
		for _, t := range known {
			if matches(name, t.id) {
				chosen = append(chosen, t)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("%q: it must be one of %s", name, strings.Join(names(known), ", "))
		}
	}
	return chosen, nil
}

// names are those of the tests, and the works in front of them.
func names(known []test) (all []string) {
	for _, t := range known {
		head, _, _ := strings.Cut(t.id, "/")
		if !slices.Contains(all, head) {
			all = append(all, head)
		}
		if t.id != head {
			all = append(all, t.id)
		}
	}
	return all
}

// render makes the table and plots of a file anew.
func render(args []string) error {
	f := flag.NewFlagSet("bench render", flag.ContinueOnError)
	docs := f.String("docs", "", "directory of performance.md, whose table is replaced, and plots/; empty: the table on standard output, no plots")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return fmt.Errorf("render takes one file of results, not %d", f.NArg())
	}
	if _, err := os.Stat(f.Arg(0)); err != nil {
		return err
	}
	r, err := load(f.Arg(0))
	if err != nil {
		return err
	}
	return publish(r, tests(r.Scale), *docs)
}

// publish writes the table to standard output, or table and plots into a directory.
func publish(r *results, known []test, docs string) error {
	if docs == "" {
		fmt.Println()
		markdown(os.Stdout, r, known)
		fmt.Println()
		legend(os.Stdout, r, known)
		return nil
	}
	return writeDocs(r, known, docs)
}

// run compares set-ups at one work.
func run(args []string) error {
	f := flag.NewFlagSet("bench run", flag.ContinueOnError)
	workFlag := f.String("work", "bulk", strings.Join(workNames(), ", "))
	peers := f.String("peer", "weir,gvisor/channel,kernel/lo", "set-ups, with commas between (gvisor: all of them); the others are compared with the first")
	runs := f.Int("runs", 5, "runs of each set-up, interleaved")
	o := options{}
	f.IntVar(&o.MTU, "mtu", 0, "packet size without offloads; 0: super-segments")
	f.DurationVar(&o.Time, "time", time.Second, "length of a run")
	f.IntVar(&o.Streams, "streams", 1, "bulk, tun: connections at once")
	f.IntVar(&o.Clients, "clients", 1, "crr: clients at once")
	f.IntVar(&o.Conns, "conns", 10_000, "idle, million, conns, timers, records: connections")
	f.BoolVar(&o.Reverse, "reverse", false, "bulk, tun: who accepted sends (tun: stack → kernel)")
	f.Float64Var(&o.Loss, "loss", 0, "lossy: share of packets lost, 0 to 1")
	f.StringVar(&o.Profile, "cpuprofile", "", "write a CPU profile of the first set-up's last run")
	if err := parse(f, args); err != nil {
		return err
	}
	if o.Time <= 0 || *runs < 1 || o.MTU < 0 || o.Conns < 1 || o.Streams < 1 || o.Clients < 1 || o.Loss < 0 || o.Loss > 1 {
		return fmt.Errorf("-runs, -time, -streams, -clients and -conns must be at least 1, -mtu 0 or more, -loss 0 to 1")
	}
	w, ok := findWork(*workFlag)
	if !ok {
		return fmt.Errorf("-work %q: it must be one of %s", *workFlag, strings.Join(workNames(), ", "))
	}
	t := test{id: w.name, work: w.name, options: o}
	for _, p := range strings.Split(*peers, ",") {
		before := len(t.entries)
		for _, s := range w.peers {
			if matches(p, s) && !slices.ContainsFunc(t.entries, func(e entry) bool { return e.setup == s }) {
				t.entries = append(t.entries, entry{setup: s})
			}
		}
		if len(t.entries) == before {
			return fmt.Errorf("-peer %q: for %s it must be one of %s", p, w.name, strings.Join(w.peers, ", "))
		}
	}
	for i := 1; i < len(t.entries); i++ {
		t.entries[i].adjust = func(o *options) { o.Profile = "" }
	}
	r := &runner{runs: *runs, now: machine{}}
	return r.all([]test{t})
}

// parse refuses what is left over.
func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%s: what is %q for?", f.Name(), f.Arg(0))
	}
	return nil
}

func workNames() (all []string) {
	for _, w := range works {
		all = append(all, w.name)
	}
	return all
}

func list([]string) error {
	fmt.Println("works:")
	for _, w := range works {
		fmt.Printf("  %-10s %s; %s; over %s\n", w.name, w.about, w.unit, strings.Join(w.peers, ", "))
	}
	fmt.Println("set-ups:")
	for _, s := range setups {
		fmt.Printf("  %-18s %s\n", s.name, s.about)
	}
	fmt.Println("tests:")
	for _, t := range tests(fullScale) {
		fmt.Printf("  %s\n", t.id)
	}
	return nil
}
